//! The description says what is served, and nothing else.

use std::collections::BTreeSet;

use axum::http::Method;
use boon::{Compiler, Schemas};
use overlay_protocol::signing::login::{
    Begin, Begun, Continue, Continued, Logout, Method as Way, MethodKind, Methods, PasswordLogin,
};
use overlay_protocol::signing::{HttpSignRequest, HttpSignResponse, LoginRequest, LoginResponse};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::operation::Operation;
use super::*;

fn with_metrics() -> Http {
    let mut settings = settings();
    settings.metrics = true;
    settings
}

async fn document(served: &Served) -> Value {
    let answer = served.ask(&get("/openapi.json")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    answer.json()
}

/// Every operation of the document.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys().cloned();
        methods
            .map(|method| (path.clone(), method))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Every method of every path that is tried and is neither unknown nor refused.
async fn routed(served: &Served) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let others = [
        "/",
        "/choria/v1",
        "/overlay/v1",
        "/swagger.json",
        "/choria/v1/docs",
        "/debug/pprof/",
        "/debug/vars",
    ];
    let paths = Operation::ALL.iter().map(|operation| operation.path());
    for path in paths.chain(others) {
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
            if !matches!(served.ask(&request).await.status, 404 | 405) {
                found.insert((path.to_owned(), method.as_str().to_ascii_lowercase()));
            }
        }
    }
    found
}

#[tokio::test]
async fn the_description_and_the_router_are_one() {
    for settings in [settings(), with_metrics()] {
        let served = Served::start(&settings).await;
        let document = document(&served).await;
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(described(&document), routed(&served).await);
        let ids: BTreeSet<&str> = Operation::ALL
            .iter()
            .map(|operation| operation.label())
            .collect();
        assert_eq!(ids.len(), Operation::ALL.len());
    }
}

/// Checks values against the schemas of the document.
struct Checker {
    document: Value,
}

impl Checker {
    const URL: &'static str = "http://localhost/openapi.json";

    fn check(&self, pointer: &str, value: &Value) -> Result<(), String> {
        let mut compiler = Compiler::new();
        compiler
            .add_resource(Self::URL, self.document.clone())
            .unwrap();
        let mut schemas = Schemas::new();
        let schema = compiler
            .compile(&format!("{}#{pointer}", Self::URL), &mut schemas)
            .unwrap();
        schemas
            .validate(value, schema)
            .map_err(|error| format!("{value} at {pointer}: {error:#}"))
    }

    fn component(&self, name: &str, value: &impl Serialize) -> Result<(), String> {
        let value = serde_json::to_value(value).unwrap();
        self.check(&format!("/components/schemas/{name}"), &value)
    }

    /// Checks an answer against what the document says of its status.
    fn answer(&self, path: &str, method: &str, answer: &Answer) {
        let escaped = path.replace('/', "~1");
        let response = format!("/paths/{escaped}/{method}/responses/{}", answer.status);
        assert!(
            self.document.pointer(&response).is_some(),
            "{response} is described"
        );
        let schema = format!("{response}/content/application~1json/schema");
        self.check(&schema, &answer.json()).unwrap();
    }
}

#[tokio::test]
async fn answers_are_as_described() {
    let served = Served::start(&with_metrics()).await;
    let checker = Checker {
        document: document(&served).await,
    };
    let posts = Operation::ALL
        .iter()
        .filter(|operation| operation.method() == Method::POST);
    for operation in posts {
        let path = operation.path();
        for body in ["", "{", "{}"] {
            checker.answer(path, "post", &served.ask(&post(path, body)).await);
        }
        let untyped = post(path, "{}").replace("application/json", "text/plain");
        checker.answer(path, "post", &served.ask(&untyped).await);
        let long = post(path, &"x".repeat(600 * 1024));
        checker.answer(path, "post", &served.ask(&long).await);
    }
    for path in ["/overlay/v1/login", "/healthz", "/readyz", "/openapi.json"] {
        checker.answer(path, "get", &served.ask(&get(path)).await);
    }
    let part = served.readiness.part("audit");
    part.down("gone");
    checker.answer("/readyz", "get", &served.ask(&get("/readyz")).await);
    let figures = served.ask(&get("/metrics")).await;
    assert_eq!(
        figures.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    assert!(figures.text().contains("overlay_aaa_http_requests_total"));
}

#[tokio::test]
async fn messages_are_as_described() {
    let served = Served::start(&settings()).await;
    let checker = Checker {
        document: document(&served).await,
    };
    let component = |name: &str, value: &dyn erased::Value| {
        checker
            .check(&format!("/components/schemas/{name}"), &value.value())
            .unwrap()
    };
    component("LoginRequest", &LoginRequest::default());
    component("SignRequest", &HttpSignRequest::default());
    component(
        "PasswordLogin",
        &PasswordLogin {
            otp: Some("123456".into()),
            ..PasswordLogin::default()
        },
    );
    component(
        "Begin",
        &Begin {
            redirect_uri: "http://127.0.0.1:1/".to_owned(),
            ..Begin::default()
        },
    );
    component(
        "Continue",
        &Continue {
            code: Some("x".into()),
            state: Some("y".to_owned()),
            ..Continue::default()
        },
    );
    component("Logout", &Logout::default());
    component(
        "LoginResponse",
        &LoginResponse {
            token: "x".to_owned(),
            error: "y".to_owned(),
        },
    );
    component("SignResponse", &HttpSignResponse::signed(b"x"));
    component("SignResponse", &HttpSignResponse::refused("x"));
    let text = || Some("x".to_owned());
    component(
        "Begun",
        &Begun {
            flow: "x".to_owned(),
            authorize_url: text(),
            verification_uri: text(),
            verification_uri_complete: text(),
            user_code: text(),
            interval: Some(5),
            expires_in: Some(300),
            error: text(),
        },
    );
    component(
        "Continued",
        &Continued {
            token: text(),
            pending: Some(5),
            error: text(),
        },
    );
    for kind in [MethodKind::Password, MethodKind::Device, MethodKind::Code] {
        let methods = vec![Way {
            name: "x".to_owned(),
            kind,
        }];
        component(
            "Methods",
            &Methods {
                methods,
                organisation: "x".to_owned(),
                site: "y".to_owned(),
            },
        );
    }
    // The schemas can say no: every text is one, and answers hold nothing else.
    for (name, wrong) in [
        ("LoginRequest", json!({ "timestamp": 5 })),
        ("LoginResponse", json!({ "token": "x", "expires": "y" })),
        ("SignResponse", json!({ "secure_request": null })),
        ("Continued", json!({ "pending": "soon" })),
        ("Problem", json!({ "code": 400 })),
        (
            "Methods",
            json!({ "methods": [{ "name": "x", "kind": "smoke" }] }),
        ),
    ] {
        assert!(
            checker.component(name, &wrong).is_err(),
            "{name} takes {wrong}"
        );
    }
}

/// Values of many types in one table.
mod erased {
    pub(super) trait Value {
        fn value(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Value for T {
        fn value(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}
