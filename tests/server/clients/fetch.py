"""Fetches every message into FOLDER/<number>, deletes nothing, and says of each: unique-id, and octets as listed.

Arguments: port (TLS at once), certificate to trust, user, password, folder.
"""

import poplib
import ssl
import sys

port, certificate, user, password, folder = sys.argv[1:]
# It gives up at lines longer than 2,048 octets; ours are as long as they were sent.
poplib._MAXLINE = 1 << 20
pop = poplib.POP3_SSL("localhost", int(port), timeout=60, context=ssl.create_default_context(cafile=certificate))
pop.user(user)
pop.pass_(password)
sizes = [int(line.split()[1]) for line in pop.list()[1]]
ids = [line.split()[1].decode() for line in pop.uidl()[1]]
assert len(sizes) == len(ids) == pop.stat()[0] and sum(sizes) == pop.stat()[1]
for number, (size, unique_id) in enumerate(zip(sizes, ids), 1):
    with open(f"{folder}/{number}", "wb") as file:
        file.writelines(line + b"\r\n" for line in pop.retr(number)[1])
    print(unique_id, size)
pop.quit()
