"""Logs in by XOAUTH2 with Python's own smtplib or poplib, and says how that ended.

Arguments: submissions or pop3s, port, certificate, user, token.
"""

import base64
import poplib
import smtplib
import ssl
import sys

_, service, port, certificate, user, token = sys.argv
tls = ssl.create_default_context(cafile=certificate)
message = f"user={user}\x01auth=Bearer {token}\x01\x01"

if service == "submissions":
    session = smtplib.SMTP_SSL("localhost", int(port), context=tls)
    session.ehlo()
    try:
        session.auth("XOAUTH2", lambda challenge=None: message if challenge is None else "")
        print("right")
    except smtplib.SMTPAuthenticationError as error:
        print(error.smtp_code)
else:
    session = poplib.POP3_SSL("localhost", int(port), context=tls)
    try:
        session._shortcmd("AUTH XOAUTH2")
        answer = session._shortcmd(base64.b64encode(message.encode()).decode())
        print("right" if answer.startswith(b"+OK") else session._shortcmd(""))
    except poplib.error_proto as error:
        print(error.args[0].decode())
