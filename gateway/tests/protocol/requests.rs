//! Requests of clients.

use reachability_gateway::twilsock::settings::{MAX_REQUESTS, REQUESTS_AT_ONCE};
use reachability_gateway::twilsock::{Action, Input, RequestNumber, Response, UpstreamRequest};
use serde_json::{Value, json};

use crate::support::{SECOND, Socket, bare, frame, message, only, response};

fn number(actions: &[Action]) -> RequestNumber {
    let [Action::Request { request, .. }] = actions else { panic!("{actions:?}") };
    *request
}

#[test]
fn a_request_is_handed_on_and_answered() {
    let mut socket = Socket::open();
    let http = json!({
        "host": "elsewhere", "path": "/v3/Maps/US1.info", "method": "GET", "params": {"Include": "items"},
        "headers": {"Content-Type": "application/json"},
    });
    let header = json!({
        "id": "TM1", "method": "message", "active_grant": "ip_messaging", "payload_type": "text/plain", "http_request": http,
    });
    let actions = socket.frame(&frame(header, "body"));
    let http = UpstreamRequest {
        method: "GET".to_owned(),
        path: "/v3/Maps/US1.info".to_owned(),
        query: "Include=items".to_owned(),
        content_type: Some("text/plain".to_owned()),
        body: "body".into(),
    };
    let request = number(&actions);
    assert_eq!(actions, [Action::Request { request, http }]);

    let answer = only(&socket.step(Input::Answered { request, response: response(200, &json!({"sid": "ü"})) }));
    assert_eq!(
        answer.header,
        json!({
            "method": "reply", "id": "TM1", "status": {"code": 200, "status": "OK"},
            "http_status": {"code": 200, "status": "OK"}, "http_headers": {"content-type": "application/json"},
            "payload_type": "application/json", "payload_size": 12,
        })
    );
    assert_eq!(answer.payload, json!({"sid": "ü"}));
    // It is answered once.
    assert_eq!(socket.step(Input::Answered { request, response: response(200, &json!({})) }), []);
}

#[test]
fn an_error_tells_its_message_in_the_status() {
    let mut socket = Socket::open();
    let mut answer = |response: Response| {
        let request = number(&socket.frame(&message("TM1", "DELETE", "/v1/registrations/BS1", "{}")));
        only(&socket.step(Input::Answered { request, response }))
    };
    let body = json!({"code": 20404, "message": "No \"such\" thing", "status": 404});
    let error = answer(response(404, &body));
    assert_eq!(error.header["http_status"], json!({"code": 404, "status": "No \"such\" thing"}));
    assert_eq!((&error.header["status"]["code"], error.payload), (&json!(200), body));
    let error = answer(Response { status: 502, content_type: None, body: "oops".into() });
    assert_eq!(error.header["http_status"], json!({"code": 502, "status": "Error"}));
    assert_eq!(error.header["payload_type"], "application/octet-stream");

    let empty = answer(Response { status: 204, content_type: None, body: "".into() });
    assert_eq!(empty.header["http_status"], json!({"code": 204, "status": "No Content"}));
    assert_eq!((&empty.header["payload_size"], empty.header.get("payload_type")), (&json!(0), None));
}

#[test]
fn requests_are_answered_in_any_order() {
    let mut socket = Socket::open();
    let requests: Vec<_> = (0..MAX_REQUESTS)
        .map(|n| number(&socket.frame(&message(&format!("TM{n}"), "GET", &format!("/{n}"), ""))))
        .collect();
    for n in [3, 0, 7, 5, 1, 2, 6, 4] {
        let answered = Input::Answered { request: requests[n], response: response(200, &json!({"n": n})) };
        let answer = only(&socket.step(answered));
        assert_eq!((&answer.header["id"], answer.payload), (&json!(format!("TM{n}")), json!({"n": n})));
    }
    assert_eq!(socket.session.requests(), 0);
}

#[test]
fn too_many_requests_are_refused() {
    let mut socket = Socket::open();
    let mut requests: Vec<_> =
        (0..MAX_REQUESTS).map(|_| number(&socket.frame(&message("TM1", "GET", "/", "")))).collect();
    let refused = only(&socket.frame(&message("TM2", "GET", "/", "")));
    assert_eq!((&refused.header["status"]["code"], &refused.header["http_status"]["code"]), (&json!(200), &json!(429)));
    assert_eq!(refused.payload["code"], 20429);

    // And too many in a short time, though each is answered.
    let answered = |request| Input::Answered { request, response: response(200, &json!({})) };
    for n in MAX_REQUESTS..REQUESTS_AT_ONCE as usize {
        socket.step(answered(requests[n - MAX_REQUESTS]));
        requests.push(number(&socket.frame(&message("TM1", "GET", "/", ""))));
    }
    socket.step(answered(*requests.last().unwrap()));
    assert_eq!(only(&socket.frame(&message("TM1", "GET", "/", ""))).header["http_status"]["code"], 429);
    socket.wait(SECOND);
    number(&socket.frame(&message("TM1", "GET", "/", "")));
}

#[test]
fn what_is_no_request_is_refused() {
    let mut socket = Socket::open();
    let refused = only(&socket.frame(&bare("message", "TM1")));
    assert_eq!((&refused.header["status"]["code"], refused.header.get("http_status")), (&json!(400), None));
    let refused = only(&socket.frame(&message("TM1", "GET", "/\r\nHost: elsewhere", "")));
    assert_eq!((&refused.header["http_status"]["code"], &refused.payload["code"]), (&json!(400), &json!(20001)));
    assert_eq!(socket.session.requests(), 0);
}

#[test]
fn other_packets_are_answered() {
    let mut socket = Socket::open();
    for (method, code) in [
        ("ping", 200),
        ("telemetry.v1", 200),
        ("put_notification_ctx", 200),
        ("delete_notification_ctx", 200),
        ("notification", 400),
        ("sing", 400),
    ] {
        let reply = only(&socket.frame(&bare(method, "TM1")));
        assert_eq!((&reply.header["method"], &reply.header["id"]), (&json!("reply"), &json!("TM1")), "{method}");
        assert_eq!((&reply.header["status"]["code"], reply.payload), (&json!(code), Value::Null), "{method}");
    }
}
