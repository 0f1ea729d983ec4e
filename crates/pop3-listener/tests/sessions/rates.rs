//! Who fails too often is told to come back, and asks nobody for another password.

use std::time::Duration;

use gate::rates::{Limit, Measure, Scope, Settings};
use gate::{ClientSettings, Privilege};
use mail::Span;
use net::clock;

use crate::house::{ANN, BOB, House, MINUTE, PASSWORD, Plan, SECOND, plain, timed};

const LATER: &str = "-ERR [SYS/TEMP] mail.example Cannot log in at the moment, try again later [R11.";

async fn house(rates: Settings) -> House {
    Plan { rates, ..Plan::new() }.build().await
}

#[tokio::test(start_paused = true)]
async fn failed_commands_of_a_source_over_all_its_sessions_close_the_login() {
    let house = house(Settings { failed_commands_per_source: "6/1m".parse().unwrap(), ..Settings::default() }).await;
    for name in [ANN, "nobody@example.org"] {
        let mut client = house.connect().await;
        client.asks("WHAT", "-ERR Unknown command").await;
        client.asks("STAT", "-ERR Log in first").await;
        client.asks(&plain("", name, "wrong"), "-ERR [AUTH]").await;
        client.asks("QUIT", "+OK").await;
    }
    let mut client = house.connect().await;
    client.logs_in(LATER).await;
    assert_eq!(house.metric("rates_met_total{listener=\"pop3s\",limit=\"rates.failed_commands_per_source\"}"), 1);
    clock::pause(MINUTE).await;
    client.logs_in("+OK").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_exempt_is_under_no_rate_by_source() {
    let house = house(Settings { failed_commands_per_source: "1/1h".parse().unwrap(), ..Settings::default() }).await;
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let near = ClientSettings { name: "near".into(), networks, class: Privilege::Exempt, sessions: None, reason: None, expires: None };
    house.gate.apply(gate::Settings { clients: vec![near], ..gate::Settings::default() }).unwrap();
    for _ in 0..2 {
        let mut client = house.connect().await;
        client.asks("WHAT", "-ERR Unknown command").await;
        client.logs_in("+OK").await;
        client.asks("QUIT", "+OK").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_no_failed_command_and_a_refused_login_neither() {
    let house = house(Settings { failed_commands_per_source: "1/1h".parse().unwrap(), ..Settings::default() }).await;
    let mut holder = house.log_in().await;
    for _ in 0..9 {
        holder.asks("RETR 1", "-ERR No such message").await;
        holder.asks("DELE 1", "-ERR No such message").await;
    }
    house.connect().await.logs_in("-ERR [IN-USE]").await;
    house.connect().await.asks(&plain("", BOB, PASSWORD), "+OK").await;
}

#[tokio::test(start_paused = true)]
async fn an_account_has_its_own_rate_and_who_has_no_password_learns_nothing() {
    let house = house(Settings { failed_commands_per_account: "2/1h".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.log_in().await;
    for _ in 0..2 {
        client.asks("WHAT", "-ERR Unknown command").await;
    }
    client.asks("STAT", "+OK 0 0").await;
    client.asks("QUIT", "+OK").await;
    let mut client = house.connect().await;
    client.asks(&plain("", ANN, "wrong"), "-ERR [AUTH]").await;
    client.logs_in(LATER).await;
    assert_eq!(house.metric("rates_met_total{listener=\"pop3s\",limit=\"rates.failed_commands_per_account\"}"), 1);
    client.asks(&plain("", BOB, PASSWORD), "+OK").await;
}

#[tokio::test(start_paused = true)]
async fn a_rate_in_shadow_counts_a_login_once() {
    let once: mail::Rate = "1/1h".parse().unwrap();
    let shadow = [Scope::Source, Scope::Account].map(|scope| Limit { measure: Measure::FailedCommands, scope }).to_vec();
    let house =
        house(Settings { failed_commands_per_source: once, failed_commands_per_account: once, shadow, ..Settings::default() }).await;
    let mut client = house.log_in().await;
    client.asks("WHAT", "-ERR Unknown command").await;
    client.asks("QUIT", "+OK").await;
    house.connect().await.logs_in("+OK").await;
    let counted: Vec<_> = house.rates.in_shadow().filter(|(_, count)| *count > 0).map(|(limit, count)| (limit.key(), count)).collect();
    assert_eq!(counted, [("failed_commands_per_source", 1), ("failed_commands_per_account", 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_tarpit_holds_back_failed_commands_and_whom_the_rate_refuses() {
    let rates =
        Settings { tarpit: Span::secs(5), tarpit_places: 1, failed_commands_per_source: "1/1h".parse().unwrap(), ..Settings::default() };
    let house = house(rates).await;
    let mut client = house.connect().await;
    assert_eq!(timed(client.asks("NOOP", "-ERR Log in first")).await.1, 5 * SECOND);
    assert_eq!(timed(client.logs_in(LATER)).await.1, 5 * SECOND);
    assert_eq!(timed(client.asks("CAPA", "+OK")).await.1, Duration::ZERO, "what has not failed is answered at once");
}
