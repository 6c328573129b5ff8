//! Credentials of push providers: the account's, shown by Conversations v1 and Chat v2. They are the same credentials.

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::paging::Page;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, Method, RegistrationCheck, Sealed};
use reachability_domain::push::outage::Outage;
use reachability_domain::secret::Secret;
use reachability_domain::sid::CredentialSid;
use reachability_infra::credentials::material::{self, InvalidMaterial};
use reachability_infra::ids;
use serde_json::{Value, json};

use crate::app::App;
use crate::call::Call;
use crate::error::ApiError;
use crate::paging::Listing;
use crate::params::{Params, set};
use crate::update;

/// How long a credential's name may be, in characters.
const MAX_FRIENDLY_NAME: usize = 64;

/// How long a key, a certificate or a service account may be, in characters. Ours.
const MAX_MATERIAL: usize = 16 * 1024;

/// What a credential is made of, and what is to be stored of it sealed.
type Material = (Method, Option<Sealed>);

pub(crate) fn routes() -> Router<App> {
    [("/v1/Credentials", 100), ("/v2/Credentials", 1_000)].into_iter().fold(
        Router::new(),
        |router, (path, max_page_size)| {
            router
                .route(path, get(move |call| list(path, max_page_size, call)).post(move |call| create(path, call)))
                .route(
                    &format!("{path}/{{credential}}"),
                    get(move |call| fetch(path, call)).post(move |call| update(path, call)).delete(delete),
                )
        },
    )
}

async fn create(path: &'static str, call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let channel = channel(form.required("Type")?)?;
    let (sid, now) = (ids::sid(), (call.app.clock)());
    let (method, sealed) = material(&call, &form, sid, channel)?.ok_or_else(|| {
        ApiError::missing(match channel {
            Channel::Apn => "PrivateKey",
            Channel::Fcm => "Secret",
            Channel::Gcm => "ApiKey",
        })
    })?;
    let mut credential = Credential {
        sid,
        channel,
        friendly_name: None,
        sandbox: false,
        check: match channel.canonical() {
            Channel::Apn => RegistrationCheck::Silent,
            Channel::Fcm | Channel::Gcm => RegistrationCheck::DryRun,
        },
        method,
        sealed,
        health: Health::Unproven,
        outage: None,
        date_created: now,
        date_updated: now,
        version: 0,
    };
    change(&mut credential, &form)?;
    call.app.store.create_credential(&credential).await?;
    Ok((StatusCode::CREATED, Json(show(&call, path, &credential))).into_response())
}

async fn list(path: &'static str, max_page_size: usize, call: Call) -> Result<Response, ApiError> {
    let page = Listing::<CredentialSid>::of(&call, max_page_size)?;
    let slice: Page<Credential> = call.app.store.credentials(page.request).await?;
    let items = slice.items.iter().map(|credential| show(&call, path, credential)).collect();
    Ok(page.show(&call, path, "credentials", &slice, |credential| credential.sid, items))
}

async fn fetch(path: &'static str, call: Call) -> Result<Response, ApiError> {
    Ok(Json(show(&call, path, &call.credential().await?)).into_response())
}

async fn update(path: &'static str, call: Call) -> Result<Response, ApiError> {
    let form = call.form()?;
    let channel = form.get("Type").map(channel).transpose()?;
    let credential = update::update(&call, |credential: &mut Credential| {
        let before = credential.clone();
        if channel.is_some_and(|channel| !channel.is(credential.channel)) {
            return Err(ApiError::unfit("Type", "a credential stays with its channel"));
        }
        set(&mut credential.channel, channel);
        if let Some((method, sealed)) = material(&call, &form, credential.sid, credential.channel)? {
            credential.method = method;
            credential.sealed = sealed;
        }
        change(credential, &form)?;
        if !credential.is_used_like(&before) {
            credential.health = Health::Unproven;
            credential.outage = None;
        }
        Ok(())
    })
    .await?;
    Ok(Json(show(&call, path, &credential)).into_response())
}

/// Removes a credential. Registrations that name it stay as they are.
async fn delete(call: Call) -> Result<Response, ApiError> {
    if call.app.store.delete_credential(call.sid("credential")?).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(call.not_found())
    }
}

fn channel(word: &str) -> Result<Channel, ApiError> {
    word.parse().map_err(|_| ApiError::invalid("Type", "apn, fcm or gcm"))
}

/// What a credential is made of, as the form says; `None` if it says nothing of it. It is always given as a whole.
fn material(call: &Call, form: &Params, sid: CredentialSid, channel: Channel) -> Result<Option<Material>, ApiError> {
    let given = |name| form.text(name, MAX_MATERIAL, 20001).map(|text| text.filter(|text| !text.is_empty()));
    let secret_names: &[_] = match channel.canonical() {
        Channel::Apn => &["Certificate", "PrivateKey", "KeyId", "TeamId", "Topic"],
        Channel::Fcm | Channel::Gcm => &["Secret", "ApiKey"],
    };
    let mut is_given = false;
    for name in secret_names {
        is_given |= given(name)?.is_some();
    }

    let arn_name = "PlatformApplicationArn";
    if let Some(arn) = given(arn_name)? {
        if !call.app.platform_applications {
            return Err(ApiError::unfit(arn_name, "this deployment has no platform applications"));
        }
        if is_given {
            return Err(ApiError::unfit(arn_name, "a platform application has its own keys, and no others are wanted"));
        }
        let method = material::platform_application(channel, arn).map_err(|error| refusal(&error, arn_name))?;
        return Ok(Some((method, None)));
    }
    if !is_given {
        return Ok(None);
    }

    let (method, secret) = match channel.canonical() {
        Channel::Apn => {
            let key = form.required("PrivateKey")?;
            match given("Certificate")? {
                Some(certificate) => material::apns_certificate(certificate, key, given("Topic")?, (call.app.clock)()),
                None => {
                    let (key_id, team_id) = (form.required("KeyId")?, form.required("TeamId")?);
                    material::apns_key(key_id, team_id, form.required("Topic")?, key)
                }
            }
            .map_err(|error| refusal(&error, "PrivateKey"))?
        }
        Channel::Fcm | Channel::Gcm => {
            // Each has a name of its own, and means the same.
            let name = if given("Secret")?.is_some() { "Secret" } else { "ApiKey" };
            material::service_account(form.required(name)?).map_err(|error| refusal(&error, name))?
        }
    };
    Ok(Some((method, Some(seal(call, sid, &secret)?))))
}

fn seal(call: &Call, sid: CredentialSid, secret: &Secret) -> Result<Sealed, ApiError> {
    let seal = call.app.seal.as_ref().ok_or_else(|| ApiError::internal("there is no key to seal credentials with"))?;
    seal.seal(sid, secret).map_err(ApiError::internal)
}

/// What is wrong with what was given, and by which parameter: `parameter` where the error alone does not tell.
fn refusal(error: &InvalidMaterial, parameter: &str) -> ApiError {
    let parameter = match error {
        InvalidMaterial::KeyId => "KeyId",
        InvalidMaterial::TeamId => "TeamId",
        InvalidMaterial::Topic | InvalidMaterial::NoTopic => "Topic",
        InvalidMaterial::Certificate | InvalidMaterial::NotYetValid(_) | InvalidMaterial::Expired(_) => "Certificate",
        InvalidMaterial::SigningKey
        | InvalidMaterial::PrivateKey
        | InvalidMaterial::Mismatch
        | InvalidMaterial::ServerKey
        | InvalidMaterial::NotServiceAccount
        | InvalidMaterial::Member(_)
        | InvalidMaterial::PlatformApplication => parameter,
    };
    ApiError::unfit(parameter, error)
}

/// What is not secret: the parameters that creating and updating have in common.
fn change(credential: &mut Credential, form: &Params) -> Result<(), ApiError> {
    form.set_text(&mut credential.friendly_name, "FriendlyName", MAX_FRIENDLY_NAME, 20001)?;
    set(&mut credential.sandbox, form.boolean("Sandbox")?);
    match form.get("RegistrationCheck") {
        None => {}
        Some("silent") => credential.check = RegistrationCheck::Silent,
        Some("dry-run") => credential.check = RegistrationCheck::DryRun,
        Some("none") => credential.check = RegistrationCheck::None,
        Some(_) => return Err(ApiError::invalid("RegistrationCheck", "silent, dry-run or none")),
    }
    let has_dry_runs =
        credential.channel != Channel::Apn || matches!(credential.method, Method::PlatformApplication { .. });
    if credential.check == RegistrationCheck::DryRun && !has_dry_runs {
        return Err(ApiError::unfit("RegistrationCheck", "APNs has no dry runs"));
    }
    Ok(())
}

fn show(call: &Call, path: &str, credential: &Credential) -> Value {
    let (status, reason, since) = match (&credential.outage, &credential.health) {
        (Some(Outage { reason, since }), _) => ("unreachable", Some(reason), Some(since.to_seconds())),
        (None, Health::Unproven) => ("unproven", None, None),
        (None, Health::Accepted) => ("accepted", None, None),
        (None, Health::Rejected { reason, at }) => ("rejected", Some(reason), Some(at.to_seconds())),
    };
    let mut shown = json!({
        "sid": credential.sid,
        "account_sid": call.app.account_sid,
        "friendly_name": credential.friendly_name,
        "type": credential.channel,
        // A text, as the vendor shows it.
        "sandbox": if credential.sandbox { "True" } else { "False" },
        "date_created": credential.date_created.to_seconds(),
        "date_updated": credential.date_updated.to_seconds(),
        "url": format!("{}{path}/{}", call.base_url, credential.sid),
        "registration_check": credential.check,
        "status": status,
        "status_reason": reason,
        "status_date": since,
        "method": null,
        "key_id": null,
        "team_id": null,
        "topic": null,
        "certificate_expires": null,
        "project_id": null,
        "client_email": null,
        "private_key_id": null,
        "platform_application_arn": null,
    });
    let method = match &credential.method {
        Method::ApnsKey { key_id, team_id, topic } => {
            json!({ "method": "apns_key", "key_id": key_id, "team_id": team_id, "topic": topic })
        }
        Method::ApnsCertificate { topic, not_after } => {
            json!({ "method": "apns_certificate", "topic": topic, "certificate_expires": not_after.to_seconds() })
        }
        Method::ServiceAccount { project_id, client_email, private_key_id } => json!({
            "method": "service_account",
            "project_id": project_id,
            "client_email": client_email,
            "private_key_id": private_key_id,
        }),
        Method::PlatformApplication { arn } => {
            json!({ "method": "platform_application", "platform_application_arn": arn })
        }
    };
    if let (Value::Object(shown), Value::Object(method)) = (&mut shown, method) {
        shown.extend(method);
    }
    shown
}
