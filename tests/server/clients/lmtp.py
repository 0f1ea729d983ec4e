"""Delivers one message to several recipients with smtplib's LMTP, and says what became of each.

Its sendmail reads one reply alone behind the message, so the replies of the others (RFC 2033 section 4.2) are read here.

Arguments: port, sender, file, recipients.
"""

import smtplib
import sys

port, sender, file, *recipients = sys.argv[1:]
with open(file, "rb") as message, smtplib.LMTP("127.0.0.1", int(port), "client.example", timeout=60) as lmtp:
    lmtp.ehlo_or_helo_if_needed()
    assert lmtp.mail(sender)[0] == 250
    codes = [lmtp.rcpt(recipient)[0] for recipient in recipients]
    first = lmtp.data(message.read())[0]
    taken = [first] + [lmtp.getreply()[0] for _ in range(codes.count(250) - 1)]
    print(*(taken.pop(0) if code == 250 else code for code in codes))
    assert lmtp.noop()[0] == 250
