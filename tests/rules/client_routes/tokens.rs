//! Access tokens, from the API key and the service that are stored.

use std::time::Duration;

use reachability_domain::directory::access_token::{Grant, MAX_LIFE, NewToken, TokenError, mint as sign};
use reachability_domain::directory::api_key::ApiKey;
use reachability_domain::identity::UserKey;
use reachability_domain::network::Network;
use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, KeySid, ServiceSid, Sid};
use reachability_functions::access_token::{KEY_NAME, MintError, MintPorts, VerifyError, mint, verify};
use reachability_functions::client::Client;
use reachability_infra::clock;
use reachability_infra::ids::Uuids;

use super::{Door, key, on_both_stores, service};

on_both_stores![
    a_token_is_that_of_its_key_and_service,
    a_token_of_the_default_service_stores_it,
    the_owner_can_have_a_token_made,
];

const HOUR: Duration = Duration::from_secs(3_600);

fn account() -> AccountSid {
    Sid::from_bits(1)
}

/// A key made over REST.
async fn new_key(door: &Door) -> ApiKey {
    let (status, made) = door.send_as_owner("POST", &format!("/2010-04-01/Accounts/{}/Keys.json", account()), "").await;
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    ApiKey {
        sid: text("sid").parse().unwrap(),
        friendly_name: String::new(),
        secret: Secret::new(text("secret")),
        date_created: clock::now(),
        date_updated: None,
    }
}

fn token(account: AccountSid, key: &ApiKey, user: &UserKey) -> String {
    let push_credential = Some(Sid::from_bits(9));
    sign(&NewToken { account, key, user, push_credential, life: HOUR }, clock::now()).unwrap()
}

async fn verified(door: &Door, token: &str) -> Result<Grant, TokenError> {
    match verify(&door.app, Network::of([192, 0, 2, 1].into()), token).await {
        Ok(grant) => Ok(grant),
        Err(VerifyError::Token(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

async fn a_token_is_that_of_its_key_and_service(door: Door) {
    let (one, other) = (new_key(&door).await, new_key(&door).await);
    let alice = key(1, "alice");
    let grant = verified(&door, &token(account(), &one, &alice)).await.unwrap();
    assert_eq!((&grant.user, grant.key), (&alice, one.sid));
    assert!(grant.expires_at > clock::now() && grant.expires_at <= clock::now().plus(HOUR));
    assert_eq!(Client::from(&grant), Client { user: alice.clone(), push_credential: Some(Sid::from_bits(9)) });
    // Another service is another user, whoever signs.
    let grant = verified(&door, &token(account(), &one, &key(2, "alice"))).await.unwrap();
    assert_eq!(grant.user, key(2, "alice"));

    let unknown = ApiKey { sid: KeySid::from_bits(3), ..one.clone() };
    let confused = ApiKey { secret: other.secret.clone(), ..one.clone() };
    for (what, token, error) in [
        ("an unknown key", token(account(), &unknown, &alice), TokenError::Issuer),
        ("another account", token(Sid::from_bits(2), &one, &alice), TokenError::Issuer),
        ("the secret of another key", token(account(), &confused, &alice), TokenError::Signature),
        ("an unknown service", token(account(), &one, &key(3, "alice")), TokenError::Grants),
        ("no token", "alice".to_owned(), TokenError::Malformed),
    ] {
        assert_eq!(verified(&door, &token).await, Err(error), "{what}");
    }

    let (of_one, of_other) = (token(account(), &one, &alice), token(account(), &other, &alice));
    let path = format!("/2010-04-01/Accounts/{}/Keys/{}", account(), one.sid);
    assert_eq!(door.send_as_owner("DELETE", &format!("{path}.json"), "").await.0, 204);
    assert_eq!(verified(&door, &of_one).await, Err(TokenError::Issuer));
    assert!(verified(&door, &of_other).await.is_ok());
    let path = format!("/v1/Services/{}", service(1));
    assert_eq!(door.send_as_owner("DELETE", &path, "").await.0, 204);
    assert_eq!(verified(&door, &of_other).await, Err(TokenError::Grants));
}

/// The default service is there before it is stored. The events of a client are handled only in a stored one.
async fn a_token_of_the_default_service_stores_it(door: Door) {
    let (_, configuration) = door.send_as_owner("GET", "/v1/Configuration", "").await;
    let default: ServiceSid = configuration["default_chat_service_sid"].as_str().unwrap().parse().unwrap();
    let user = UserKey { service: default, identity: "alice".parse().unwrap() };
    assert!(door.harness.store.service(default).await.unwrap().is_none());
    let key = new_key(&door).await;
    let wrong = ApiKey { secret: Secret::new("wrong"), ..key.clone() };
    assert_eq!(verified(&door, &token(account(), &wrong, &user)).await, Err(TokenError::Signature));
    assert!(door.harness.store.service(default).await.unwrap().is_none());
    assert_eq!(verified(&door, &token(account(), &key, &user)).await.unwrap().user, user);
    assert!(door.harness.store.service(default).await.unwrap().is_some());
}

async fn the_owner_can_have_a_token_made(door: Door) {
    let store = &door.harness.store;
    let made = async |user: &UserKey, life| {
        let ports = MintPorts {
            accounts: store.clone(),
            api_keys: store.clone(),
            services: store.clone(),
            ids: std::sync::Arc::new(Uuids),
        };
        mint(ports, account(), user, life, clock::now()).await
    };
    new_key(&door).await;
    let alice = key(1, "alice");
    let first = verified(&door, &made(&alice, HOUR).await.unwrap()).await.unwrap();
    assert_eq!((&first.user, first.push_credential), (&alice, None));
    let second = verified(&door, &made(&key(2, "bob"), MAX_LIFE).await.unwrap()).await.unwrap();
    assert_eq!((second.user, second.key), (key(2, "bob"), first.key));
    let keys = store.keys(PageRequest { position: Cursor::Start, limit: 10 }).await.unwrap().items;
    assert_eq!(
        keys.iter().filter(|key| key.friendly_name == KEY_NAME).map(|key| key.sid).collect::<Vec<_>>(),
        [first.key]
    );
    assert_eq!(keys.len(), 2);
    assert!(matches!(made(&key(3, "alice"), HOUR).await, Err(MintError::NoService(sid)) if sid == service(3)));
    let day_and_second = MAX_LIFE + Duration::from_secs(1);
    assert!(matches!(made(&alice, day_and_second).await, Err(MintError::Token(TokenError::TooLong))));
    // Deleting the key takes all its tokens back. The next one is of a new key.
    assert!(store.delete_key(first.key).await.unwrap());
    let third = verified(&door, &made(&alice, HOUR).await.unwrap()).await.unwrap();
    assert_ne!(third.key, first.key);
}
