"""Sends a message with a binary part in chunks, to port 25 and by submission, and reads it with poplib and email.

Arguments: ports of smtp, submission and pop3s, certificate to trust, user who sends, user who reads, their password.
"""

import email
import email.policy
import poplib
import random
import smtplib
import ssl
import sys

smtp_port, submission, pop3s, certificate, sender, reader, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=certificate)

FILE = b"\0\r\n.\r\n..\r\r\n\n\r\n--almost\r\n--\r\n" + random.Random(3030).randbytes(300_000) + b"\r\n\r"
NOTE = "Gr\u00fc\u00dfe,\r\nkein Ende".encode()
MESSAGE = b"\r\n".join(
    [
        b"From: <" + sender.encode() + b">",
        b"Subject: a file",
        b"MIME-Version: 1.0",
        b"Content-Transfer-Encoding: binary",
        b'Content-Type: multipart/mixed; boundary="outer"',
        b"",
        b"--outer",
        b'Content-Type: multipart/alternative; boundary="outer-inner"',
        b"",
        b"--outer-inner",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: binary",
        b"",
        NOTE,
        b"--outer-inner",
        b"Content-Type: text/html; charset=us-ascii",
        b"",
        b"<p>text</p>",
        b"--outer-inner--",
        b"--outer",
        b'Content-Disposition: attachment; filename="file.bin"',
        b"Content-Transfer-Encoding: (as it is) BINARY",
        b"Content-Type: application/octet-stream",
        b"",
        FILE,
        b"--outer--",
        b"",
    ]
)


def send(smtp):
    assert smtp.has_extn("chunking") and smtp.has_extn("binarymime")
    assert smtp.mail(sender, ["BODY=BINARYMIME", f"SIZE={len(MESSAGE)}"])[0] == 250
    assert smtp.rcpt(reader)[0] == 250
    assert smtp.docmd("DATA")[0] == 503
    for start in range(0, len(MESSAGE), 99_991):
        chunk = MESSAGE[start : start + 99_991]
        smtp.sock.sendall(b"BDAT %d\r\n" % len(chunk) + chunk)
        assert smtp.getreply()[0] == 250
    code, said = smtp.docmd("BDAT", "0 LAST")
    assert code == 250, said


with smtplib.SMTP("127.0.0.1", int(smtp_port), "client.example", timeout=60) as smtp:
    smtp.ehlo()
    send(smtp)
with smtplib.SMTP("localhost", int(submission), "client.example", timeout=60) as smtp:
    smtp.starttls(context=tls)
    smtp.login(sender, password)
    send(smtp)

pop3 = poplib.POP3_SSL("localhost", int(pop3s), timeout=60, context=tls)
pop3.user(reader)
pop3.pass_(password)
assert pop3.stat()[0] == 2, pop3.stat()
for number in [1, 2]:
    lines = pop3.retr(number)[1]
    assert all(b"\0" not in line and b"\r" not in line and len(line) <= 998 for line in lines)
    message = email.message_from_bytes(b"\r\n".join(lines), policy=email.policy.default)
    assert not any(part.defects for part in message.walk()), [part.defects for part in message.walk()]
    assert message["Content-Transfer-Encoding"] == "8bit", message.items()
    texts, file = message.get_payload()
    plain, html = texts.get_payload()
    assert plain.get_payload(decode=True) == NOTE and plain["Content-Transfer-Encoding"] == "base64"
    assert html.get_payload(decode=True) == b"<p>text</p>" and html["Content-Transfer-Encoding"] is None
    assert file.get_filename() == "file.bin" and file["Content-Transfer-Encoding"] == "base64"
    assert file.get_payload(decode=True) == FILE
pop3.quit()
