"""Sends messages in one session, each as it is in its file.

Arguments: submission (STARTTLS) or submissions (TLS at once), port, certificate to trust, user and sender, password, recipient, files.
"""

import smtplib
import ssl
import sys

service, port, certificate, user, password, recipient, *files = sys.argv[1:]
tls = ssl.create_default_context(cafile=certificate)
if service == "submissions":
    smtp = smtplib.SMTP_SSL("localhost", int(port), "client.example", timeout=60, context=tls)
else:
    smtp = smtplib.SMTP("localhost", int(port), "client.example", timeout=60)
    smtp.starttls(context=tls)
with smtp:
    smtp.login(user, password)
    for file in files:
        with open(file, "rb") as message:
            smtp.sendmail(user, [recipient], message.read())
