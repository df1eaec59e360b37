//! The description of all operations, by OpenAPI 3.1.

use bytes::Bytes;
use utoipa::openapi::path::{Operation as Described, OperationBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, SchemaType, Type};
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, HttpMethod, InfoBuilder, License, ObjectBuilder,
    OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
};

use super::operation::Operation;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// What the whole is about.
const ABOUT: &str = "Logs people in and signs their requests to a fleet. The two operations below `/choria/v1` take and \
give what clients of Choria know: every outcome of a request that could be read is status 200, members are texts, \
and `error` says that there is no more. The reason of a refusal is in the service's record and never in an answer. \
Every login step is signed with the Ed25519 key that the token is to be bound to; each may be sent once.";

/// The statuses that any operation with a body may answer beside its own.
const REFUSALS: [(&str, &str); 7] = [
    ("400", "The body is no JSON of this shape"),
    ("408", "The body did not arrive in time"),
    ("413", "The body is too long"),
    ("415", "The body is not JSON by its Content-Type"),
    ("422", "There is no body"),
    ("501", "The service is not configured for this"),
    (
        "503",
        "Too much at once; the same request may be sent again",
    ),
];

/// The description as it is served.
pub(super) fn text(with_metrics: bool) -> Bytes {
    let mut paths = PathsBuilder::new();
    for operation in Operation::ALL {
        if with_metrics || operation != Operation::Metrics {
            let method = match operation.method().as_str() {
                "POST" => HttpMethod::Post,
                _ => HttpMethod::Get,
            };
            paths = paths.path(operation.path(), PathItem::new(method, describe(operation)));
        }
    }
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("Overlay AAA")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license));
    let document = OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components()))
        .build();
    // Texts and lists alone: it can be written.
    Bytes::from(document.to_json().unwrap_or_default())
}

fn describe(operation: Operation) -> Described {
    let (tag, summary, description) = words(operation);
    let mut described = OperationBuilder::new()
        .operation_id(Some(operation.label()))
        .tag(tag)
        .summary(Some(summary))
        .description(Some(description));
    let (request, answer) = shapes(operation);
    if let Some(request) = request {
        let body = RequestBodyBuilder::new()
            .content(JSON, Content::new(Some(Ref::from_schema_name(request))))
            .required(Some(Required::True));
        described = described.request_body(Some(body.build()));
        for (status, what) in REFUSALS {
            described = described.response(status, refusal(status, what));
        }
    }
    match operation {
        Operation::Methods => {
            let (status, what) = REFUSALS[5];
            described = described.response(status, refusal(status, what));
        }
        Operation::Readyz => {
            described = described.response("503", json("Something is missing", "Ready"));
        }
        Operation::ChoriaLogin
        | Operation::ChoriaSign
        | Operation::Password
        | Operation::Begin
        | Operation::Continue
        | Operation::Logout
        | Operation::Description
        | Operation::Healthz
        | Operation::Metrics => {}
    }
    let answer = match answer {
        Some(schema) => json("The outcome", schema),
        None if operation == Operation::Metrics => ResponseBuilder::new()
            .description("The figures")
            .content(TEXT, Content::new(Some(text_of("Prometheus' text format")))),
        None => ResponseBuilder::new()
            .description("This description")
            .content(JSON, Content::new(Some(ObjectBuilder::new()))),
    };
    described.response("200", answer).build()
}

/// Group, summary and description.
fn words(operation: Operation) -> (&'static str, &'static str, &'static str) {
    match operation {
        Operation::ChoriaLogin => (
            "choria",
            "Log in with a name and a password",
            "Gives a token bound to the key. The signature covers `<timestamp>:<username>:<password>`; the timestamp may \
             be a minute old and a few seconds ahead (`clock_skew`).",
        ),
        Operation::ChoriaSign => (
            "choria",
            "Have a request signed",
            "Decides by the token's policy whether its holder may send this request, records the decision, and signs what \
             is allowed in the holder's name.",
        ),
        Operation::Methods => (
            "login",
            "Ask for the ways to log in",
            "The ways in which this service logs people in, best first.",
        ),
        Operation::Password => (
            "login",
            "Log in with a name, a password and a one-time code",
            "As `/choria/v1/login`, with the code of a second factor where one is set up.",
        ),
        Operation::Begin => (
            "login",
            "Begin to log in elsewhere",
            "Begins a login with an identity provider: by a code that is confirmed on any device, or on a page that comes \
             back to this machine. The signature covers `overlay-login-begin:<timestamp>:<method>:<kind>:<redirect_uri>`.",
        ),
        Operation::Continue => (
            "login",
            "Go on with a login",
            "Asks whether the person is done, or hands in what the page came back with. The signature covers \
             `overlay-login-continue:<timestamp>:<flow>:<code>:<state>`.",
        ),
        Operation::Logout => (
            "login",
            "End a session",
            "Makes a token worthless here. The signature is by the token's own key and covers \
             `overlay-logout:<timestamp>:<token id>`.",
        ),
        Operation::Description => ("service", "This description", "What can be asked here."),
        Operation::Healthz => (
            "service",
            "Whether the process runs",
            "Always so, if it answers.",
        ),
        Operation::Readyz => (
            "service",
            "Whether it can do its work",
            "False while it starts or stops and while something that it needs is away.",
        ),
        Operation::Metrics => ("service", "Figures", "Counters and times, for Prometheus."),
    }
}

/// Schemas of the request and of the answer.
fn shapes(operation: Operation) -> (Option<&'static str>, Option<&'static str>) {
    match operation {
        Operation::ChoriaLogin => (Some("LoginRequest"), Some("LoginResponse")),
        Operation::ChoriaSign => (Some("SignRequest"), Some("SignResponse")),
        Operation::Methods => (None, Some("Methods")),
        Operation::Password => (Some("PasswordLogin"), Some("LoginResponse")),
        Operation::Begin => (Some("Begin"), Some("Begun")),
        Operation::Continue => (Some("Continue"), Some("Continued")),
        Operation::Logout => (Some("Logout"), Some("LoginResponse")),
        Operation::Healthz => (None, Some("Health")),
        Operation::Readyz => (None, Some("Ready")),
        Operation::Description | Operation::Metrics => (None, None),
    }
}

fn refusal(status: &str, what: &str) -> ResponseBuilder {
    if status == "501" {
        return ResponseBuilder::new()
            .description(what)
            .content(JSON, Content::new(Some(text_of("What is not configured"))));
    }
    json(what, "Problem")
}

fn json(what: &str, schema: &str) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(what)
        .content(JSON, Content::new(Some(Ref::from_schema_name(schema))))
}

fn components() -> Components {
    const USERNAME: (&str, &str) = ("username", "Name");
    const PASSWORD: (&str, &str) = ("password", "Password");
    const TIMESTAMP: (&str, &str) = ("timestamp", "Unix seconds, in decimal");
    const KEY: (&str, &str) = (
        "public_key",
        "Ed25519 key that the token is to be bound to, 64 hexadecimal digits",
    );
    const SIGNATURE: (&str, &str) = ("signature", "Signature by that key, 128 hexadecimal digits");
    const FLOW: (&str, &str) = ("flow", "The login so far, sealed");
    const ERROR: (&str, &str) = ("error", "Why there is nothing else");
    const TOKEN: (&str, &str) = ("token", "The token, a JWT");
    let login = [USERNAME, PASSWORD, TIMESTAMP, KEY, SIGNATURE];
    let request = |members: &[(&str, &str)]| texts(members);
    let answer = |members: &[(&str, &str)]| closed(texts(members));
    ComponentsBuilder::new()
        .schema("LoginRequest", request(&login))
        .schema("LoginResponse", answer(&[TOKEN, ERROR]))
        .schema(
            "SignRequest",
            request(&[
                ("token", "Token of the caller"),
                (
                    "signature",
                    "The caller's signature over the bytes of the request, hexadecimal",
                ),
            ])
            .property("request", base64("The request in base64, padded")),
        )
        .schema(
            "SignResponse",
            answer(&[ERROR]).property(
                "secure_request",
                base64("The signed request in base64, padded"),
            ),
        )
        .schema(
            "PasswordLogin",
            request(&login).property("otp", text_of("One-time code")),
        )
        .schema("Methods", methods())
        .schema(
            "Begin",
            request(&[
                ("method", "Name of the way to log in"),
                ("kind", "`device` or `code`"),
                KEY,
                TIMESTAMP,
                (
                    "redirect_uri",
                    "Address of this machine that the page comes back to, with `code`",
                ),
                SIGNATURE,
            ]),
        )
        .schema(
            "Begun",
            answer(&[
                FLOW,
                ("authorize_url", "Page to open on this machine"),
                ("verification_uri", "Page to open anywhere"),
                ("verification_uri_complete", "The same with the code in it"),
                ("user_code", "Code to confirm there"),
                ERROR,
            ])
            .property("interval", seconds("Seconds between two questions"))
            .property("expires_in", seconds("Seconds until it is too late")),
        )
        .schema(
            "Continue",
            request(&[
                FLOW,
                ("code", "Code that the page came back with"),
                ("state", "State that the page came back with"),
                KEY,
                TIMESTAMP,
                SIGNATURE,
            ]),
        )
        .schema(
            "Continued",
            answer(&[TOKEN, ERROR]).property(
                "pending",
                seconds("Not done yet: seconds until the next question"),
            ),
        )
        .schema(
            "Logout",
            request(&[("token", "The token that is to end"), TIMESTAMP, SIGNATURE]),
        )
        .schema(
            "Problem",
            closed(texts(&[("message", "What is wrong with the request")]))
                .property(
                    "code",
                    whole("The status, or 602 for a body that is missing"),
                )
                .required("code")
                .required("message"),
        )
        .schema(
            "Health",
            closed(texts(&[("status", "`ok`")])).required("status"),
        )
        .schema(
            "Ready",
            closed(ObjectBuilder::new())
                .property("ready", ObjectBuilder::new().schema_type(Type::Boolean))
                .required("ready"),
        )
        .build()
}

fn methods() -> ObjectBuilder {
    let kinds = ["password", "device", "code"];
    let method = closed(texts(&[("name", "Such as `userlist`, `ldap`, `oidc`")]))
        .property(
            "kind",
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(kinds))
                .description(Some("What is asked of a person")),
        )
        .required("name")
        .required("kind");
    closed(texts(&[
        ("organisation", "Organisation that tokens are for"),
        ("site", "Site of the service"),
    ]))
    .property(
        "methods",
        ArrayBuilder::new().items(RefOr::<Schema>::from(method)),
    )
    .required("methods")
}

/// An object whose members are texts.
fn texts(members: &[(&str, &str)]) -> ObjectBuilder {
    members.iter().fold(
        ObjectBuilder::new().schema_type(Type::Object),
        |object, (name, what)| object.property(*name, text_of(what)),
    )
}

/// An object without further members.
fn closed(object: ObjectBuilder) -> ObjectBuilder {
    object.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
}

fn text_of(what: &str) -> ObjectBuilder {
    of(Type::String, what)
}

fn base64(what: &str) -> ObjectBuilder {
    text_of(what).content_encoding("base64")
}

fn seconds(what: &str) -> ObjectBuilder {
    whole(what)
}

fn whole(what: &str) -> ObjectBuilder {
    of(Type::Integer, what).minimum(Some(0))
}

fn of(kind: Type, what: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(kind))
        .description(Some(what))
}
