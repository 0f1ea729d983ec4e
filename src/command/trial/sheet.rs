//! What a trial prints: commands to copy, settings for a mail program, and how to see the gate at work.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use admin::Listening;

use super::folder::{DOMAIN, Folder};
use crate::server::find;

/// The text.
pub(super) struct Sheet<'t> {
    pub(super) folder: &'t Folder,
    /// The limits in force.
    pub(super) gate: &'t gate::Settings,
    pub(super) listening: &'t [Listening],
}

impl Display for Sheet<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut accounts = self.folder.accounts.iter();
        let (Some((ann, secret)), Some((bob, other))) = (accounts.next(), accounts.next()) else { return Ok(()) };
        let port = |service| find(self.listening, service).map_or(0, |address| address.port());
        let [smtp, submission, submissions, pop3, pop3s, http] = ["smtp", "submission", "submissions", "pop3", "pop3s", "http"].map(port);
        let (certificate, config, gatepost) = (self.folder.certificate(), self.folder.config(), program());
        let (trusted, config, gatepost) = (Quoted(&certificate), Quoted(&config), Quoted(&gatepost));
        let demonstration = Demonstration { gate: self.gate, smtp, config: &config, gatepost: &gatepost };
        let fate = if self.folder.is_fresh() { "removed at the end; --keep DIR keeps one" } else { "kept" };
        writeln!(f, "Gatepost takes mail for {DOMAIN}. Everything is in {} ({fate}).", self.folder.dir().display())?;
        // Commands begin their lines, so that they can be copied with them: Python and the shell's END would not bear a margin.
        writeln!(
            f,
            "
  account            password
  {ann}    {secret}
  {bob}    {other}

# Mail from another server comes in:

printf 'Subject: hello\\n\\nHello, Ann.\\n' | curl -sS --crlf smtp://127.0.0.1:{smtp}/elsewhere.example \\
  --mail-from carol@elsewhere.example --mail-rcpt {ann} -T -

# Bob submits, with his password and under TLS:

swaks --server 127.0.0.1:{submission} --tls --from {bob} --to {ann} --auth PLAIN --auth-user {bob} --auth-password {other}

# Ann fetches her first message:

curl -sS --ssl-reqd --cacert {trusted} --user '{ann}:{secret}' pop3://localhost:{pop3}/1

# Or Python does all of it:

python3 - {trusted} <<'END'
import poplib, smtplib, ssl, sys
tls = ssl.create_default_context(cafile=sys.argv[1])
with smtplib.SMTP('localhost', {submission}) as smtp:
    smtp.starttls(context=tls)
    smtp.login('{bob}', '{other}')
    smtp.sendmail('{bob}', ['{ann}'], 'Subject: from Python\\r\\n\\r\\nHello again.\\r\\n')
pop = poplib.POP3_SSL('localhost', {pop3s}, context=tls)
pop.user('{ann}'); pop.pass_('{secret}')
print(pop.stat(), pop.retr(pop.stat()[0])[1])
pop.quit()
END

{demonstration}

# How it is doing:

{gatepost} status --config {config}
curl -s http://127.0.0.1:{http}/metrics

# A mail program (incoming POP3, outgoing SMTP; user name is the address; accept the certificate):

  incoming   POP3   localhost   port {pop3s} SSL/TLS, or {pop3} STARTTLS
  outgoing   SMTP   localhost   port {submissions} SSL/TLS, or {submission} STARTTLS, password needed

Ctrl-C lets sessions finish and ends it.
"
        )
    }
}

/// The gate at its limit. /dev/tcp is bash's own, whatever shell this is copied into.
struct Demonstration<'d> {
    gate: &'d gate::Settings,
    smtp: u16,
    config: &'d Quoted<'d>,
    gatepost: &'d Quoted<'d>,
}

impl Display for Demonstration<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { gate: gate::Settings { max_inbound: limit, sessions_per_address: ceiling, .. }, smtp, config, gatepost } = self;
        if limit >= ceiling {
            // One address is refused before the gate is full, and more places would not help it.
            return write!(f, "# To see the gate refuse a session, set max_inbound ({limit}) below sessions_per_address ({ceiling}).");
        }
        let (beyond, more) = (limit + 1, limit.saturating_mul(2));
        write!(
            f,
            "# See the gate refuse session {beyond} of {limit}, and let it in once there is room (with bash and a Linux sed):

bash -c 'for n in $(seq {beyond}); do (exec 3<>/dev/tcp/127.0.0.1/{smtp}; head -n 1 <&3; sleep 3) & done; wait'
sed -i 's/^max_inbound = .*/max_inbound = {more}/' {config}
{gatepost} reload --config {config}"
        )
    }
}

/// A path as one word of the shell.
struct Quoted<'p>(&'p Path);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let path = self.0.display().to_string();
        if path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c)) {
            return f.write_str(&path);
        }
        write!(f, "'{}'", path.replace('\'', r"'\''"))
    }
}

/// This program, as it can be called again.
fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| "gatepost".into())
}
