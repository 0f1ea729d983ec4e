//! The folder of a trial: `gatepost.toml`, `certificate.pem`, `key.pem`, `accounts.toml`, and the data directory `data`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mail::Secret;
use rcgen::{CertificateParams, DnType, KeyPair};
use store::{Change, Directory};
use store_embedded::Embedded;

use super::listen;
use crate::config::Config;
use crate::password;
use crate::server::BACKLOG;

/// The domain of a trial: `.example` never leads anywhere (RFC 2606).
pub(super) const DOMAIN: &str = "try.example";

/// A folder ready to be served.
pub(super) struct Folder {
    dir: PathBuf,
    fresh: bool,
    /// Address and password.
    pub(super) accounts: BTreeMap<String, String>,
}

impl Folder {
    /// Makes what is not there yet, and the sockets to serve it on.
    pub(super) fn prepare(keep: Option<&Path>) -> Result<(Self, net::Listeners), Box<dyn Error>> {
        let dir = match keep {
            Some(dir) => {
                fs::create_dir_all(dir)?;
                check_ours(dir)?;
                std::path::absolute(dir)?
            }
            None => fresh_dir()?,
        };
        let mut folder = Self { dir, fresh: keep.is_none(), accounts: BTreeMap::new() };
        folder.check_not_in_use()?;
        folder.make_certificate()?;
        let sockets = folder.make_config()?;
        folder.make_accounts()?;
        Ok((folder, sockets))
    }

    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.at(CONFIG)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.at(CERTIFICATE)
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Removes a fresh folder.
    pub(super) fn leave(self) -> std::io::Result<()> {
        if self.fresh { fs::remove_dir_all(&self.dir) } else { Ok(()) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A trial that runs in a kept folder keeps its configuration: the store's lock is asked before anything is written.
    fn check_not_in_use(&self) -> Result<(), Box<dyn Error>> {
        let Ok(kept) = Config::load(&self.config()) else { return Ok(()) };
        if kept.config.data_dir.exists() {
            Embedded::open(&kept.config.data_dir, kept.config.store)?.close();
        }
        Ok(())
    }

    /// For localhost alone, and nobody vouches for it: clients are told to trust the file.
    fn make_certificate(&self) -> Result<(), Box<dyn Error>> {
        if self.at(CERTIFICATE).exists() && self.at(KEY).exists() {
            return Ok(());
        }
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "Gatepost trial");
        let key = KeyPair::generate()?;
        write_private(&self.at(KEY), &key.serialize_pem())?;
        fs::write(self.at(CERTIFICATE), params.self_signed(&key)?.pem())?;
        Ok(())
    }

    /// Ports are looked for anew each time; what else a kept file says stays.
    fn make_config(&self) -> Result<net::Listeners, Box<dyn Error>> {
        let kept = fs::read_to_string(self.config()).unwrap_or_else(|_| START.into());
        let mut document: toml_edit::DocumentMut = kept.parse()?;
        let mut sockets = Vec::new();
        for (service, wanted) in WANTED {
            let socket = listen(wanted)?;
            let addresses: toml_edit::Array = [socket.local().to_string()].into_iter().collect();
            sockets.push(socket);
            let table = document.entry("listen").or_insert_with(toml_edit::table);
            if let Some(table) = table.as_table_like_mut() {
                table.insert(service, toml_edit::value(addresses));
            }
        }
        fs::write(self.config(), document.to_string())?;
        Ok(net::Listeners::passed(sockets, BACKLOG))
    }

    fn make_accounts(&mut self) -> Result<(), Box<dyn Error>> {
        if let Ok(kept) = fs::read_to_string(self.at(ACCOUNTS)) {
            self.accounts = toml::from_str(&kept)?;
            return Ok(());
        }
        let config = Config::load(&self.config())?.config;
        let store = Embedded::open(&config.data_dir, config.store.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let change = |change| runtime.block_on(store.change(change));
        change(Change::PutDomain { name: DOMAIN.parse()?, postmaster: None })?;
        let salts = runtime.block_on(store.secret())?;
        for name in ["ann", "bob"] {
            let (name, password) = (format!("{name}@{DOMAIN}"), password::generate());
            let secret = Secret::new(password.as_bytes());
            let stored = auth::hash_password(&secret, &auth::Settings::default())?;
            let verifier = Some(auth::scram_verifier(&secret, &auth::scram_salt(&name, &salts)));
            change(Change::AddAccount { name: name.clone(), password_hash: stored, verifier })?;
            self.accounts.insert(name, password);
        }
        store.close();
        write_private(&self.at(ACCOUNTS), &toml::to_string(&self.accounts)?)?;
        Ok(())
    }
}

/// Who names a folder of their own by mistake finds it as it was.
fn check_ours(dir: &Path) -> Result<(), Box<dyn Error>> {
    if dir.join(ACCOUNTS).exists() || fs::read_dir(dir)?.next().is_none() {
        return Ok(());
    }
    let dir = dir.display();
    Err(format!("{dir} is not empty and has no {ACCOUNTS}, so it is no folder of a trial: name one that is empty or not there yet").into())
}

/// A folder nobody else can look into.
fn fresh_dir() -> std::io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("gatepost-{}", mail::MessageId::generate().to_string().to_lowercase()));
    std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&dir)?;
    Ok(dir)
}

/// A file with a secret in it.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

const CONFIG: &str = "gatepost.toml";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const ACCOUNTS: &str = "accounts.toml";

/// Where each service would like to be, above the ports that only root may bind.
const WANTED: [(&str, u16); 5] = [("smtp", 2525), ("submission", 2587), ("submissions", 2465), ("pop3", 2110), ("pop3s", 2995)];

/// The file to begin with. Root stays root: the folder is its own.
const START: &str = r#"# The configuration of `gatepost try`. Change it and say `gatepost reload`.
# `gatepost config reference` explains every key.
hostname = "mail.try.example"
data_dir = "data"
user = "root"

[listen]

[tls]
certificate = "certificate.pem"
key = "key.pem"

[gate]
# How many sessions may be open at once. The next one is told 421.
max_inbound = 5
# All clients of a trial come from one address: it may have every place.
reserve = 0
fair_share_alpha = 0

[store]
# A trial is no place for many megabytes.
segment = "8MiB"
reserve_free = "16MiB"

[admin]
http = ["127.0.0.1:0"]
"#;
