//! Rights the server has when it starts and does not need to serve.
//!
//! Root binds the ports and reads the keys; then the process becomes the configured user for good, with that user's groups and
//! no others. The same goes for commands that open the store of a stopped server, so that nothing in the data directory ever
//! belongs to root by accident. Of no effect when anybody but root starts it, or when the configured user is root.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, chown, initgroups, setgid, setuid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Why the rights could not be given up. The process must end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unprivileged {
    #[error("user = \"{0}\": there is no such user; make it with `useradd --system {0}` or set `user` to one that exists")]
    NoUser(String),
    #[error("user = \"{0}\": {1}")]
    Become(String, io::Error),
    #[error("data_dir = \"{}\": {cause}", .path.display())]
    DataDir { path: PathBuf, cause: io::Error },
}

/// Makes the data directory where it is not there, and becomes the configured user.
///
/// # Errors
/// See [`Unprivileged`].
pub(crate) fn give_up(config: &Config) -> Result<(), Unprivileged> {
    let in_data_dir = |cause| Unprivileged::DataDir { path: config.data_dir.clone(), cause };
    if !Uid::effective().is_root() {
        return make(&config.data_dir).map(|_| ()).map_err(in_data_dir);
    }
    let becoming = |errno| Unprivileged::Become(config.user.clone(), io::Error::from(errno));
    let user = User::from_name(&config.user).map_err(becoming)?.ok_or_else(|| Unprivileged::NoUser(config.user.clone()))?;
    if make(&config.data_dir).map_err(in_data_dir)? {
        chown(&config.data_dir, Some(user.uid), Some(user.gid)).map_err(|errno| in_data_dir(errno.into()))?;
    }
    if user.uid.is_root() {
        return Ok(());
    }
    become_user(&user).map_err(becoming)
}

/// Becomes whoever a data directory belongs to, where root asks.
///
/// # Errors
/// See [`Unprivileged`].
pub(crate) fn take_owner(data_dir: &Path) -> Result<(), Unprivileged> {
    let in_data_dir = |cause| Unprivileged::DataDir { path: data_dir.to_owned(), cause };
    let owner = Uid::from_raw(data_dir.metadata().map_err(in_data_dir)?.uid());
    if !Uid::effective().is_root() || owner.is_root() {
        return Ok(());
    }
    let becoming = |errno| Unprivileged::Become(owner.to_string(), io::Error::from(errno));
    let user = User::from_uid(owner).map_err(becoming)?.ok_or_else(|| Unprivileged::NoUser(owner.to_string()))?;
    become_user(&user).map_err(becoming)
}

/// Allows as many file descriptors as the system lets this process have. Where that fails there are as many as there were, and
/// beyond them connections are refused (R4b).
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

fn become_user(user: &User) -> nix::Result<()> {
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|_| nix::errno::Errno::EINVAL)?;
    initgroups(&name, user.gid)?;
    setgid(Gid::from_raw(user.gid.as_raw()))?;
    setuid(user.uid)
}

/// Whether it was not there.
fn make(dir: &Path) -> io::Result<bool> {
    let new = !dir.exists();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    Ok(new)
}
