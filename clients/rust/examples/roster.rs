//! Shows who of some users is here, until it is interrupted.
//!
//! `TOKEN=… cargo run -p reachability-client --example roster -- ws://127.0.0.1:8080/v1/Socket john jack`
#![allow(clippy::print_stdout, reason = "it is a program for a terminal")]

use std::env;
use std::error::Error;

use reachability_client::{Client, ConnectUser, Event, Options, QueryOptions, User};
use serde_json::{Value, json};
use tokio::signal::ctrl_c;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().ok_or("usage: TOKEN=… roster URL USER…")?;
    let ids: Vec<String> = arguments.collect();

    let user = ConnectUser { status: Some("Looking at the roster".to_owned()), ..ConnectUser::default() };
    let client = Client::connect(Options { user, ..Options::new(url, env::var("TOKEN")?) }).await?;
    println!("connected as {}", client.me().user.id);

    let mut events = client.events();
    let options = QueryOptions { presence: true, ..QueryOptions::default() };
    let found = client.query_users(json!({"id": {"$in": ids}}), Value::Null, options).await?;
    for user in &found.users {
        println!("{}", line(user));
    }
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::PresenceChanged { user, .. } | Event::UserUpdated { user, .. }) => println!("{}", line(&user)),
                Some(Event::ConnectionChanged(connection)) => println!("{connection:?}"),
                Some(Event::Lagged { .. }) => {
                    for found in found.users.iter().filter_map(|user| client.user(&user.id)) {
                        println!("{}", line(&found.user));
                    }
                }
                Some(_) => {}
                None => return Ok(()),
            },
            interrupted = ctrl_c() => {
                interrupted?;
                client.goodbye().await;
                return Ok(());
            }
        }
    }
}

fn line(user: &User) -> String {
    let here = match (user.online, &user.last_active) {
        (Some(true), _) => "is here".to_owned(),
        (_, Some(time)) => format!("was here at {time}"),
        (_, None) => "was not here yet".to_owned(),
    };
    let status = user.status.as_deref().unwrap_or_default();
    format!("{} {here} {status}", user.name.as_deref().unwrap_or(&user.id))
}
