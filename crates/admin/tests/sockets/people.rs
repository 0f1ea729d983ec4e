//! Domains, accounts, aliases and lists, over the control socket.

use admin::{DirectoryRequest, PasswordHash, Reply, Request};

use crate::{Server, asked};

async fn directory(server: &Server, request: DirectoryRequest) -> Reply {
    asked(server.path(), Request::Directory(request)).await.unwrap()
}

#[tokio::test]
async fn people_domains_and_aliases_come_and_go() {
    let mut server = Server::new();
    let _stop = server.control();
    let hash = || PasswordHash("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".into());
    let verifier = || Some(PasswordHash("SCRAM-SHA-256$1:c2FsdA==$a2V5:a2V5".into()));
    let name = "ann@example.org".to_owned();
    let add = || DirectoryRequest::AddUser { name: name.clone(), password_hash: hash(), verifier: verifier() };
    let first = directory(&server, add()).await;
    let why = "example.org is not a local domain: add it first with `gatepost domain add example.org`";
    assert_eq!(first, Reply::Refused(vec![why.into()]));
    for request in [
        DirectoryRequest::PutDomain { name: "Example.ORG".into(), postmaster: None },
        add(),
        DirectoryRequest::SetPassword { name: name.clone(), password_hash: hash(), verifier: verifier() },
        DirectoryRequest::PutAlias { name: "sales@example.org".into(), targets: vec![name.clone()] },
        DirectoryRequest::PutDomain { name: "example.org".into(), postmaster: Some("sales@example.org".into()) },
        DirectoryRequest::SetDomain {
            name: "Example.org".into(),
            postmaster: None,
            delimiter: Some("-".into()),
            catch_all: Some(name.clone()),
            quota: admin::QuotaChange { octets: Some(admin::Limit::At(1 << 30)), messages: None },
        },
        DirectoryRequest::SetUser {
            name: name.clone(),
            quota: admin::QuotaChange { octets: Some(admin::Limit::Domain), messages: Some(admin::Limit::At(5)) },
            forwards: Some(vec!["ann@elsewhere.example".into()]),
        },
        DirectoryRequest::AddList {
            name: "team@example.org".into(),
            posting: admin::Posting::Members,
            members: vec![name.clone(), "eve@elsewhere.example".into()],
        },
        DirectoryRequest::SetList {
            name: "team@example.org".into(),
            posting: Some(admin::Posting::Domain),
            join: vec!["sales@example.org".into()],
            leave: vec![],
        },
    ] {
        assert_eq!(directory(&server, request.clone()).await, Reply::Done, "{request:?}");
    }
    let quota = admin::Quota { octets: Some(1 << 30), messages: Some(5) };
    let user =
        admin::User { name: name.clone(), octets: 0, messages: 0, quota, forwards: vec!["ann@elsewhere.example".into()], scram: true };
    assert_eq!(directory(&server, DirectoryRequest::ListUsers).await, Reply::Users(vec![user]));
    let domain = admin::Domain {
        name: "example.org".into(),
        unicode: None,
        postmaster: Some("sales@example.org".into()),
        delimiter: "-".into(),
        catch_all: Some(name.clone()),
        quota: admin::Quota { octets: Some(1 << 30), messages: None },
    };
    assert_eq!(
        store::Directory::account(&server.store, &name).await.unwrap().unwrap().verifier.as_deref(),
        Some("SCRAM-SHA-256$1:c2FsdA==$a2V5:a2V5")
    );
    assert_eq!(directory(&server, DirectoryRequest::ListDomains).await, Reply::Domains(vec![domain]));
    let alias = admin::Alias { name: "sales@example.org".into(), targets: vec![name.clone()] };
    assert_eq!(directory(&server, DirectoryRequest::ListAliases).await, Reply::Aliases(vec![alias]));
    let members = vec![name.clone(), "sales@example.org".into(), "eve@elsewhere.example".into()];
    let list = admin::List { name: "team@example.org".into(), posting: admin::Posting::Domain, members };
    assert_eq!(directory(&server, DirectoryRequest::ListLists).await, Reply::Lists(vec![list]));
    for request in [
        DirectoryRequest::RemoveList { name: "team@example.org".into() },
        DirectoryRequest::PutDomain { name: "example.org".into(), postmaster: None },
        DirectoryRequest::RemoveAlias { name: "sales@example.org".into() },
        DirectoryRequest::SetDomain {
            name: "example.org".into(),
            postmaster: None,
            delimiter: None,
            catch_all: Some(String::new()),
            quota: admin::QuotaChange::default(),
        },
        DirectoryRequest::RemoveUser { name: name.clone() },
        DirectoryRequest::RemoveDomain { name: "example.org".into() },
    ] {
        assert_eq!(directory(&server, request.clone()).await, Reply::Done, "{request:?}");
    }
    assert_eq!(directory(&server, DirectoryRequest::ListUsers).await, Reply::Users(vec![]));
}

#[tokio::test]
async fn a_password_is_not_taken_for_its_hash() {
    let mut server = Server::new();
    let _stop = server.control();
    let add = DirectoryRequest::AddUser { name: "ann@example.org".into(), password_hash: PasswordHash("hunter2".into()), verifier: None };
    let Reply::Refused(why) = directory(&server, add).await else { panic!("a plain password was taken") };
    assert!(!why.concat().contains("hunter2"), "{why:?}");
    let (password_hash, verifier) = (PasswordHash("$argon2id$x".into()), Some(PasswordHash("hunter2".into())));
    let set = DirectoryRequest::SetPassword { name: "ann@example.org".into(), password_hash, verifier };
    let Reply::Refused(why) = directory(&server, set).await else { panic!("a plain password was taken") };
    assert!(!why.concat().contains("hunter2"), "{why:?}");
}
