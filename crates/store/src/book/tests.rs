use mail::ForwardPath;

use super::*;
use crate::{Change, ChangeError, Closed, Limit, Posting, QuotaChange};

fn book() -> Book {
    let mut book = Book::default();
    for change in [
        Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None },
        Change::AddAccount { name: "zoe@example.org".into(), password_hash: "z".into(), verifier: None },
        Change::AddAccount { name: "Ann@Example.ORG".into(), password_hash: "a".into(), verifier: None },
        Change::PutAlias { name: "sales@example.org".into(), targets: vec!["ann@example.org".into()] },
        Change::PutAlias {
            name: "all@example.org".into(),
            targets: vec!["sales@example.org".into(), "zoe@example.org".into(), "ann@example.org".into()],
        },
    ] {
        book.apply(change).unwrap();
    }
    book
}

fn resolved(book: &Book, path: &str) -> String {
    match book.resolve(&ForwardPath::parse(path).unwrap()) {
        Resolution::Accounts(mut accounts, _) => {
            accounts.sort();
            accounts.join(" ")
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn recipients_come_to_accounts() {
    let mut book = book();
    for (path, meant) in [
        ("<ANN@example.org>", "ann@example.org"),
        ("<all@EXAMPLE.org>", "ann@example.org zoe@example.org"),
        ("<postmaster>", "zoe@example.org"),
        ("<Postmaster@example.org>", "zoe@example.org"),
        ("<nobody@example.org>", "UnknownUser"),
        ("<ann@example.com>", "Foreign"),
        ("<ann@[127.0.0.1]>", "Foreign"),
    ] {
        assert_eq!(resolved(&book, path), meant, "{path}");
    }
    book.apply(Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: Some("ann@example.org".into()) }).unwrap();
    assert_eq!(resolved(&book, "<postmaster>"), "ann@example.org");
    for name in ["example.org", "example.net"] {
        book.apply(Change::PutDomain { name: name.parse().unwrap(), postmaster: None }).unwrap();
        assert_eq!(resolved(&book, &format!("<postmaster@{name}>")), "ann@example.org", "{name}");
    }
    let set = |postmaster: &str| Change::SetDomain {
        name: "example.org".parse().unwrap(),
        postmaster: Some(postmaster.into()),
        delimiter: None,
        catch_all: None,
        quota: QuotaChange::default(),
    };
    book.apply(set("")).unwrap();
    assert_eq!(resolved(&book, "<postmaster@example.org>"), "zoe@example.org", "nobody is named");
    book.apply(set("all@example.org")).unwrap();
    book.apply(Change::RemoveAlias { name: "all@example.org".into() }).unwrap();
    assert_eq!(resolved(&book, "<postmaster@example.org>"), "zoe@example.org", "the default again");
}

#[test]
fn whoever_comes_first_has_the_mail() {
    let mut book = book();
    let set = |delimiter: &str, catch_all: &str| Change::SetDomain {
        name: "example.org".parse().unwrap(),
        postmaster: None,
        delimiter: Some(delimiter.into()),
        catch_all: Some(catch_all.into()),
        quota: QuotaChange::default(),
    };
    let looked_up = |book: &Book, cases: [(&str, &str); 9]| {
        for (name, meant) in cases {
            assert_eq!(resolved(book, &format!("<{name}@example.org>")), meant, "{name}");
        }
    };
    book.apply(Change::PutAlias { name: "ann+work@example.org".into(), targets: vec!["zoe@example.org".into()] }).unwrap();
    let (ann, zoe, both, nobody) = ("ann@example.org", "zoe@example.org", "ann@example.org zoe@example.org", "UnknownUser");
    looked_up(
        &book,
        [
            ("Ann+Shop", ann),
            ("ann+", ann),
            ("ann+work", zoe),
            ("ann+a+b", ann),
            ("all+x", both),
            ("+ann", nobody),
            ("bob+ann", nobody),
            ("postmaster+abuse", zoe),
            ("ann-shop", nobody),
        ],
    );
    book.apply(set("-", "sales@example.org")).unwrap();
    looked_up(
        &book,
        [
            ("ann-shop", ann),
            ("zoe", zoe),
            ("zoe+shop", ann),
            ("ann+work", zoe),
            ("nobody", ann),
            ("-zoe", ann),
            ("postmaster-", zoe),
            ("postmaster", zoe),
            ("\"no body\"", ann),
        ],
    );
    let caught = |path: &str| match book.resolve(&ForwardPath::parse(path).unwrap()) {
        Resolution::Accounts(_, terms) => terms.is_some_and(|terms| terms.catch_all),
        other => panic!("{other:?}"),
    };
    assert!(caught("<nobody@example.org>") && !caught("<ann-shop@example.org>"));
    assert_eq!(book.names(&"Ann-Shop@EXAMPLE.org".parse().unwrap()), ["ann-shop@example.org", "ann@example.org"]);
    assert_eq!(book.names(&"ann@example.com".parse().unwrap()), [""; 0]);
    let said = ["ANN@example.org".to_owned(), "ann@example.org".into(), "zoe@example.org".into()];
    assert_eq!(book.of_accounts(&said), Ok(Resolution::Accounts(vec![ann.into(), zoe.into()], None)));
    assert_eq!(book.of_accounts(&["sales@example.org".into()]), Err("sales@example.org"));
    let keeps = Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None };
    book.apply(keeps).unwrap();
    assert_eq!(resolved(&book, "<nobody@example.org>"), ann, "adding it again changes no setting");
    let used = book.apply(Change::RemoveAlias { name: "sales@example.org".into() }).unwrap_err().to_string();
    assert_eq!(used, "sales@example.org is still used by alias all@example.org: change that first");
    book.apply(Change::PutAlias { name: "all@example.org".into(), targets: vec![zoe.into()] }).unwrap();
    let used = book.apply(Change::RemoveAlias { name: "sales@example.org".into() }).unwrap_err().to_string();
    assert_eq!(used, "sales@example.org is still used by the catch-all of example.org: change that first");
    book.apply(set("", "")).unwrap();
    assert_eq!(resolved(&book, "<zoe+shop@example.org>"), nobody);
    assert_eq!(resolved(&book, "<nobody@example.org>"), nobody);
}

#[test]
fn a_change_that_would_break_something_names_it_and_changes_nothing() {
    let before = book();
    for (change, why) in [
        (
            Change::AddAccount { name: "ann".into(), password_hash: String::new(), verifier: None },
            "\"ann\" is not an address: write name@domain",
        ),
        (
            Change::AddAccount { name: "a@example.com".into(), password_hash: String::new(), verifier: None },
            "example.com is not a local domain: add it first with `gatepost domain add example.com`",
        ),
        (
            Change::PutAlias { name: "out@example.org".into(), targets: vec!["someone@example.com".into()] },
            "someone@example.com is not an address here, as what aliases, catch-alls and postmasters stand for must be. For mail to go to another \
             host, have an account here, and `gatepost user set ACCOUNT --forward someone@example.com`",
        ),
        (
            Change::PutAlias { name: "*@Example.org".into(), targets: vec!["ann@example.org".into()] },
            "\"*@example.org\" is no address: there are no wildcards; the catch-all is `gatepost domain set example.org --catch-all ADDRESS`",
        ),
        (
            Change::PutAlias { name: "@example.org".into(), targets: vec!["ann@example.org".into()] },
            "\"@example.org\" is no address: there are no wildcards; the catch-all is `gatepost domain set example.org --catch-all ADDRESS`",
        ),
        (
            Change::AddAccount { name: "*@example.org".into(), password_hash: String::new(), verifier: None },
            "\"*@example.org\" is no address: there are no wildcards; the catch-all is `gatepost domain set example.org --catch-all ADDRESS`",
        ),
        (
            Change::PutDomain { name: "192.0.2.1".parse().unwrap(), postmaster: None },
            "192.0.2.1 is no domain: their names never end in a number. Write it as in example.org",
        ),
        (
            Change::AddAccount { name: "ANN@example.org".into(), password_hash: String::new(), verifier: None },
            "account ann@example.org exists already",
        ),
        (
            Change::AddAccount { name: "sales@example.org".into(), password_hash: String::new(), verifier: None },
            "alias sales@example.org exists already",
        ),
        (
            Change::RemoveAccount { name: "ann@example.org".into() },
            "ann@example.org is still used by alias all@example.org: change that first",
        ),
        (Change::RemoveDomain { name: "example.org".parse().unwrap() }, "example.org is still used by ann@example.org: change that first"),
        (
            Change::PutAlias { name: "sales@example.org".into(), targets: vec!["all@example.org".into()] },
            "alias sales@example.org would lead back to itself",
        ),
        (
            Change::PutAlias { name: "x@example.org".into(), targets: vec!["y@example.org".into()] },
            "there is no account, alias or list y@example.org",
        ),
        (
            Change::SetDomain {
                name: "example.org".parse().unwrap(),
                postmaster: None,
                delimiter: Some("%".into()),
                catch_all: None,
                quota: QuotaChange::default(),
            },
            "\"%\" is no delimiter: write one of +-=_.#~, or \"\" for none",
        ),
        (
            Change::SetDomain {
                name: "example.org".parse().unwrap(),
                postmaster: None,
                delimiter: Some("-".into()),
                catch_all: Some("y@example.org".into()),
                quota: QuotaChange::default(),
            },
            "there is no account, alias or list y@example.org",
        ),
        (
            Change::SetDomain {
                name: "example.com".parse().unwrap(),
                postmaster: None,
                delimiter: None,
                catch_all: None,
                quota: QuotaChange::default(),
            },
            "there is no domain example.com",
        ),
        (
            Change::AddList { name: "all@example.org".into(), posting: Posting::Anyone, members: vec!["ann@example.org".into()] },
            "alias all@example.org exists already",
        ),
        (
            Change::AddList { name: "l@example.org".into(), posting: Posting::Anyone, members: vec!["x@elsewhere.example".into()] },
            "list l@example.org needs at least one member with an address here",
        ),
        (
            Change::AddList { name: "l@example.org".into(), posting: Posting::Anyone, members: vec!["y@example.org".into()] },
            "there is no account, alias or list y@example.org",
        ),
        (Change::RemoveList { name: "all@example.org".into() }, "there is no list all@example.org"),
        (
            Change::SetPassword { name: "y@example.org".into(), password_hash: String::new(), verifier: None },
            "there is no account y@example.org",
        ),
        (
            Change::RenewHash { name: "ann@example.org".into(), stored: "old".into(), password_hash: "new".into() },
            "the password of ann@example.org has been changed meanwhile and stays as it is now",
        ),
    ] {
        let mut book = before.clone();
        assert_eq!(book.apply(change).unwrap_err().to_string(), why);
        assert_eq!(book, before);
    }
}

#[test]
fn a_name_is_known_as_it_is_listed() {
    let mut book = book();
    book.apply(Change::AddAccount { name: "\"Two Words\"@example.org".into(), password_hash: String::new(), verifier: None }).unwrap();
    let listed = book.accounts().find(|account| account.name.contains(' ')).unwrap().name.to_string();
    assert_eq!(listed, "two words@example.org");
    book.apply(Change::PutAlias { name: "two@example.org".into(), targets: vec![listed.clone()] }).unwrap();
    assert_eq!(resolved(&book, "<two@example.org>"), listed);
    book.apply(Change::RemoveAlias { name: "two@example.org".into() }).unwrap();
    book.apply(Change::RemoveAccount { name: listed.clone() }).unwrap();
    let new = Change::AddAccount { name: listed, password_hash: String::new(), verifier: None };
    assert!(matches!(book.apply(new), Err(ChangeError::Address(_))), "a new one must be written as an address");
}

#[test]
fn a_list_comes_to_its_members_and_says_who_may_post() {
    let mut book = book();
    let list = |name: &str, posting, members: &[&str]| Change::AddList {
        name: format!("{name}@example.org"),
        posting,
        members: members.iter().map(|member| (*member).to_owned()).collect(),
    };
    book.apply(list("team", Posting::Members, &["ann@example.org", "Eve@elsewhere.example"])).unwrap();
    book.apply(list("staff", Posting::Domain, &["team@example.org", "zoe@example.org", "eve@other.example"])).unwrap();
    book.apply(list("news", Posting::Anyone, &["all@example.org"])).unwrap();
    let change =
        Change::PutAlias { name: "everybody@example.org".into(), targets: vec!["staff@example.org".into(), "news@example.org".into()] };
    book.apply(change).unwrap();
    assert_eq!(resolved(&book, "<everybody+x@example.org>"), "ann@example.org zoe@example.org");
    let terms = |book: &Book, path: &str| match book.resolve(&ForwardPath::parse(path).unwrap()) {
        Resolution::Accounts(_, terms) => terms.map(|terms| *terms).unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    let everybody = terms(&book, "<everybody@example.org>");
    assert_eq!(everybody.outside.iter().map(|address| &**address).collect::<Vec<_>>(), ["eve@other.example", "Eve@elsewhere.example"]);
    let all_admit = |closed: &[Closed], account: Option<&str>| closed.iter().all(|closed| closed.admits(account));
    for (path, ann, zoe, stranger) in [
        ("<team@example.org>", true, false, false),
        ("<everybody@example.org>", true, false, false),
        ("<news@example.org>", true, true, true),
    ] {
        let closed = terms(&book, path).closed;
        let admitted = [Some("ANN@example.org"), Some("zoe@example.org"), None].map(|account| all_admit(&closed, account));
        assert_eq!(admitted, [ann, zoe, stranger], "{path}");
    }
    book.apply(Change::SetList {
        name: "staff@example.org".into(),
        posting: None,
        join: vec!["sales@example.org".into()],
        leave: vec!["TEAM@example.org".into(), "eve@other.example".into()],
    })
    .unwrap();
    let closed = terms(&book, "<staff@example.org>");
    assert!(all_admit(&closed.closed, Some("zoe@example.org")) && !all_admit(&closed.closed, Some("zoe@sub.example.org")));
    assert_eq!((closed.closed.len(), closed.outside.len()), (1, 0));
}

#[test]
fn whoever_is_reached_by_lists_alone_is_a_member_and_no_addressee() {
    let mut book = book();
    let name = |name: &str| format!("{name}@example.org");
    let names = |names: &[&str]| names.iter().map(|one| name(one)).collect::<Vec<_>>();
    let quota = QuotaChange { octets: None, messages: Some(Limit::At(9)) };
    for change in [
        Change::SetDomain { name: "example.org".parse().unwrap(), postmaster: None, delimiter: None, catch_all: None, quota },
        Change::AddList { name: name("zoes"), posting: Posting::Anyone, members: names(&["zoe"]) },
        Change::AddList { name: name("list"), posting: Posting::Anyone, members: names(&["all", "zoes"]) },
        Change::PutAlias { name: name("one"), targets: names(&["list"]) },
        Change::PutAlias { name: name("both"), targets: names(&["zoes", "ann"]) },
        // A member by one way, and by another an addressee.
        Change::PutAlias { name: name("each"), targets: names(&["list", "sales"]) },
        Change::PutAlias { name: name("lists"), targets: names(&["list", "zoes"]) },
    ] {
        book.apply(change).unwrap();
    }
    for (address, addressees, members, several) in [
        ("zoe", "zoe@example.org", "", false),
        ("sales", "ann@example.org", "", false),
        ("all", "ann@example.org zoe@example.org", "", true),
        ("list", "", "ann@example.org zoe@example.org", false),
        ("one", "", "ann@example.org zoe@example.org", false),
        ("both", "ann@example.org", "zoe@example.org", true),
        ("each", "ann@example.org", "zoe@example.org", true),
        ("lists", "", "ann@example.org zoe@example.org", true),
    ] {
        let Resolution::Accounts(accounts, Some(terms)) = book.resolve(&ForwardPath::parse(&format!("<{address}@example.org>")).unwrap())
        else {
            panic!("{address}")
        };
        let named = |limited: &[(Arc<str>, Allowance)]| {
            let mut names: Vec<_> = limited.iter().map(|(name, _)| &**name).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!((named(&terms.allowances).as_str(), named(&terms.members).as_str()), (addressees, members), "{address}");
        assert_eq!((terms.several, accounts.len()), (several, terms.allowances.len() + terms.members.len()), "{address}");
    }
}

#[test]
fn mail_goes_on_to_other_hosts_and_never_back_here() {
    let mut book = book();
    let forward = |to: &[&str]| Change::SetAccount {
        name: "ann@example.org".into(),
        quota: QuotaChange::default(),
        forwards: Some(to.iter().map(|to| (*to).to_owned()).collect()),
    };
    book.apply(forward(&["ann@elsewhere.example", "ann@other.example", "ann@elsewhere.example"])).unwrap();
    match book.resolve(&ForwardPath::parse("<all@example.org>").unwrap()) {
        Resolution::Accounts(accounts, Some(terms)) => {
            assert_eq!((accounts.len(), terms.outside.join(" ")), (2, "ann@elsewhere.example ann@other.example".into()));
        }
        other => panic!("{other:?}"),
    }
    let refused = |book: &mut Book, change| book.apply(change).unwrap_err().to_string();
    let local = "zoe@example.org is not in another host's domain: for addresses here there are aliases and lists";
    assert_eq!(refused(&mut book, forward(&["zoe@example.org"])), local);
    let literal = "zoe@[192.0.2.1] is not in another host's domain: for addresses here there are aliases and lists";
    assert_eq!(refused(&mut book, forward(&["zoe@[192.0.2.1]"])), literal);
    let put = Change::PutDomain { name: "elsewhere.example".parse().unwrap(), postmaster: None };
    let used = "elsewhere.example is still used by the forwarding of ann@example.org: change that first";
    assert_eq!(refused(&mut book, put.clone()), used);
    book.apply(forward(&["Ann@BÜCHER.example", "\"a@b\"@elsewhere.example", "Ann@xn--bcher-kva.example"])).unwrap();
    let kept = book.account("ann@example.org").unwrap().forwards.join(" ");
    assert_eq!(kept, "Ann@xn--bcher-kva.example \"a@b\"@elsewhere.example", "one address, however its domain is written");
    let put_other = Change::PutDomain { name: "xn--bcher-kva.example".parse().unwrap(), postmaster: None };
    assert_eq!(
        refused(&mut book, put_other),
        "xn--bcher-kva.example is still used by the forwarding of ann@example.org: change that first"
    );
    book.apply(forward(&[])).unwrap();
    book.apply(put).unwrap();
    assert_eq!(book.resolve(&ForwardPath::parse("<zoe@example.org>").unwrap()), Resolution::Accounts(vec!["zoe@example.org".into()], None));
}

#[test]
fn terms_name_those_who_have_a_limit() {
    let mut book = book();
    let terms = |book: &Book, path: &str| match book.resolve(&ForwardPath::parse(path).unwrap()) {
        Resolution::Accounts(_, terms) => terms.map(|terms| {
            let mut named: Vec<_> = terms.allowances.iter().map(|(name, allowance)| format!("{name}: {allowance}")).collect();
            named.sort();
            named.join(", ")
        }),
        other => panic!("{other:?}"),
    };
    assert_eq!(terms(&book, "<all@example.org>"), None);
    let of_ann =
        |octets, messages| Change::SetAccount { name: "ann@example.org".into(), quota: QuotaChange { octets, messages }, forwards: None };
    book.apply(of_ann(Some(Limit::At(1 << 20)), None)).unwrap();
    assert_eq!(terms(&book, "<all@example.org>").as_deref(), Some("ann@example.org: 1MiB"));
    assert_eq!(terms(&book, "<zoe@example.org>"), None);
    let quota = QuotaChange { octets: Some(Limit::At(1 << 30)), messages: Some(Limit::At(9)) };
    let of_domain =
        |quota| Change::SetDomain { name: "example.org".parse().unwrap(), postmaster: None, delimiter: None, catch_all: None, quota };
    book.apply(of_domain(quota)).unwrap();
    let both = "ann@example.org: 1MiB and 9 messages, zoe@example.org: 1GiB and 9 messages";
    assert_eq!(terms(&book, "<all@example.org>").as_deref(), Some(both));
    book.apply(of_ann(Some(Limit::None), Some(Limit::None))).unwrap();
    assert_eq!(terms(&book, "<all@example.org>").as_deref(), Some("zoe@example.org: 1GiB and 9 messages"));
    let again = Book::new(book.domains().cloned(), book.accounts().cloned(), book.aliases().cloned(), book.lists().cloned());
    assert_eq!(again, book, "as an engine reads it");
    book.apply(of_domain(QuotaChange { octets: Some(Limit::Unsaid), messages: Some(Limit::Unsaid) })).unwrap();
    assert_eq!(terms(&book, "<all@example.org>"), None);
}

#[test]
fn the_costs_in_use_are_those_of_the_hashes_there_are() {
    let mut book = Book::default();
    let hash = |memory: u32| format!("$argon2id$v=19$m={memory},t=1,p=1$c2FsdA$aGFzaA");
    let costs = |book: &Book| book.costs().map(|cost| cost.rsplit("m=").next().unwrap().to_owned()).collect::<Vec<_>>().join(" ");
    let name = |name: &str| format!("{name}@example.org");
    for (change, expected) in [
        (Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }, ""),
        (Change::AddAccount { name: name("ann"), password_hash: hash(8), verifier: None }, "8,t=1,p=1"),
        (Change::AddAccount { name: name("bob"), password_hash: hash(8), verifier: None }, "8,t=1,p=1"),
        (Change::AddAccount { name: name("cyd"), password_hash: "no hash".into(), verifier: None }, "8,t=1,p=1"),
        (Change::SetPassword { name: name("ann"), password_hash: hash(9), verifier: None }, "8,t=1,p=1 9,t=1,p=1"),
        (Change::RenewHash { name: name("bob"), stored: hash(8), password_hash: hash(9) }, "9,t=1,p=1"),
        (Change::RemoveAccount { name: name("ann") }, "9,t=1,p=1"),
        (Change::RemoveAccount { name: name("bob") }, ""),
    ] {
        book.apply(change.clone()).unwrap();
        assert_eq!(costs(&book), expected, "{change:?}");
        let again = Book::new(book.domains().cloned(), book.accounts().cloned(), book.aliases().cloned(), book.lists().cloned());
        assert_eq!(costs(&again), expected, "as an engine reads it: {change:?}");
    }
}

#[test]
fn the_postmaster_is_neither_closed_nor_full() {
    let mut book = book();
    let name = |name: &str| format!("{name}@example.org");
    let limit = Some(Limit::At(0));
    let domain = || "example.org".parse().unwrap();
    let quota = QuotaChange { octets: limit, messages: limit };
    for change in [
        Change::AddList { name: name("closed"), posting: Posting::Members, members: vec![name("ann"), "x@elsewhere.example".into()] },
        Change::PutDomain { name: domain(), postmaster: Some(name("closed")) },
        Change::SetDomain { name: domain(), postmaster: None, delimiter: None, catch_all: Some(name("closed")), quota },
    ] {
        book.apply(change).unwrap();
    }
    let terms = |book: &Book, path: &str| match book.resolve(&ForwardPath::parse(path).unwrap()) {
        Resolution::Accounts(_, Some(terms)) => (terms.closed.len(), terms.members.len(), terms.outside.len()),
        other => panic!("{path}: {other:?}"),
    };
    let postmasters = ["<postmaster>", "<Postmaster@example.org>", "<postmaster+x@example.org>"];
    for path in postmasters {
        assert_eq!(terms(&book, path), (0, 0, 1), "{path}");
    }
    for path in ["<closed@example.org>", "<nobody@example.org>"] {
        assert_eq!(terms(&book, path), (1, 1, 1), "{path}");
    }
    book.apply(Change::PutAlias { name: name("postmaster"), targets: vec![name("closed")] }).unwrap();
    for path in postmasters {
        assert_eq!(terms(&book, path), (0, 0, 1), "an address of its own: {path}");
    }
}

#[test]
fn aliases_of_aliases_are_walked_once_each() {
    let mut book = book();
    let name = |level: usize, side: char| format!("{side}{level}@example.org");
    let mut below = vec!["ann@example.org".to_owned(), "zoe@example.org".into()];
    // Twice as many ways at each level.
    for level in 0..100 {
        for side in ['a', 'b'] {
            book.apply(Change::PutAlias { name: name(level, side), targets: below.clone() }).unwrap();
        }
        below = ['a', 'b'].map(|side| name(level, side)).to_vec();
    }
    assert_eq!(resolved(&book, "<a99@example.org>"), "ann@example.org zoe@example.org");
    let back = book.apply(Change::PutAlias { name: name(0, 'a'), targets: vec![name(99, 'b')] }).unwrap_err();
    assert_eq!(back.to_string(), "alias a0@example.org would lead back to itself");
}
