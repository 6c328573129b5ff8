//! What happens at once.

use futures_util::future::join;
use reachability_tests::twilsock::Ended;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Setup, create, open, presence};

/// What others want to show of a user who is being deleted, the owner or the user itself, does not bring the user back.
#[tokio::test]
async fn who_is_deleted_stays_deleted() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    for round in 0..8 {
        let john = format!("john-{round}");
        create(&setup, &[&john]).await;
        let mut jane = open(&setup, "jane").await;
        jane.watch(&[&john]).await;
        let mut phone = if round % 2 == 0 { Some(open(&setup, &john).await) } else { None };
        if phone.is_some() {
            jane.until(&john, Some(true)).await;
        }
        let user = format!("/v1/Services/{}/Users/{john}", setup.service);
        let path = format!("/v1/Services/{}/Presence/{john}", setup.service);

        // The deletion waits for the store, and then the wish does.
        let held = setup.hold();
        let deleting = setup.client.delete(&user);
        let wishing = async {
            // It is sent once the deletion is there: each request is answered after those before it were read.
            for _ in 0..5 {
                assert_eq!(presence(&setup, &john).await["id"], *john);
            }
            let form = [("Status", "here"), ("Invisible", "true")];
            let set = async {
                match &mut phone {
                    Some(phone) => phone.try_ask("set_user", json!({"status": "here"})).await.map(|answer| answer.last),
                    None => Some(setup.client.send(Method::POST, &path, &form).await.1),
                }
            };
            let release = async {
                for _ in 0..5 {
                    presence(&setup, &john).await;
                }
                drop(held);
            };
            join(set, release).await.0
        };
        let (_, answer) = join(deleting, wishing).await;
        // It came too late, or the socket has ended before it was answered.
        let code = answer.as_ref().map(|answer| answer["code"].clone());
        let too_late = [json!(20404), json!("unavailable")];
        assert!(code.as_ref().is_none_or(|code| too_late.contains(code)), "{answer:?}");
        if let Some(mut phone) = phone {
            assert_eq!(phone.end().await, Ended::Closed(4403, "user_deleted".into()));
        }
        let (status, gone) = setup.client.send(Method::GET, &user, &[]).await;
        assert_eq!(status, 404, "{gone}");
        let event = jane.event("user.deleted").await;
        assert_eq!(event["id"], *john);
        assert_eq!(jane.next_within(super::QUIET).await, None::<Value>);
        jane.goodbye().await;
    }
}
