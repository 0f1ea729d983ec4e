"""Asks for a report of the delivery with smtplib, over STARTTLS, and reads it with poplib and email.

Arguments: port of submission, port of pop3s, certificate to trust, user and sender, password, recipient.
"""

import email
import email.policy
import poplib
import smtplib
import ssl
import sys

submission, pop3s, certificate, user, password, recipient = sys.argv[1:]
tls = ssl.create_default_context(cafile=certificate)
with smtplib.SMTP("localhost", int(submission), "client.example", timeout=60) as smtp:
    smtp.starttls(context=tls)
    smtp.login(user, password)
    for keyword in ["dsn", "deliverby", "mt-priority", "requiretls"]:
        assert smtp.has_extn(keyword), keyword
    mail_options = ["RET=HDRS", "ENVID=QQ314159", "BY=60;R", "MT-PRIORITY=2", "REQUIRETLS"]
    rcpt_options = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;" + recipient]
    smtp.sendmail(user, [recipient], b"Subject: asked\r\n\r\nbody\r\n", mail_options, rcpt_options)

pop3 = poplib.POP3_SSL("localhost", int(pop3s), timeout=60, context=tls)
pop3.user(user)
pop3.pass_(password)
text = b"\r\n".join(pop3.retr(1)[1])
assert pop3.stat()[0] == 1, pop3.stat()
pop3.quit()
report = email.message_from_bytes(text, policy=email.policy.default)
assert report.get_content_type() == "multipart/report", report.get_content_type()
assert report["Return-Path"] == "<>" and report["To"] == user, report.items()
words, status, header = report.get_payload()
assert recipient in words.get_content(), text
of_message, of_recipient = status.get_payload()
assert of_message["Original-Envelope-Id"] == "QQ314159", text
assert of_recipient["Action"] == "delivered" and of_recipient["Status"] == "2.1.5", text
assert of_recipient["Final-Recipient"] == "rfc822; " + recipient, text
assert "Subject: asked" in header.get_content() and "body" not in header.get_content(), text
assert not any(part.defects for part in report.walk()), [part.defects for part in report.walk()]
