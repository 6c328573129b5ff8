//! The account's credentials for push providers. Conversations v1 and Chat v2 show the same credentials.

use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reachability_domain::ids::Ids;
use reachability_domain::paging::Page;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::credential::{Credential, Health, Method, RegistrationCheck, Sealed, Validity};
use reachability_domain::push::lifetime::Lifetime;
use reachability_domain::push::message::{PushMessage, ScanServices};
use reachability_domain::push::outage::Outage;
use reachability_domain::push::ports::Credentials;
use reachability_domain::push::reason::Reason;
use reachability_domain::push::vault::{InvalidMaterial, Material, Vault, VaultError};
use reachability_domain::queue::Queue;
use reachability_domain::secret::Secret;
use reachability_domain::sid::{AccountSid, CredentialSid};
use reachability_domain::time::{Clock, Timestamp};
use serde::Serialize;

use crate::app::{App, Port};
use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::json::Json;
use crate::http::paging::Listing;
use crate::http::params::{Params, set};
use crate::http::request::ApiRequest;
use crate::use_cases::credentials::update_credential;

/// How long a credential's name may be, in characters.
const MAX_FRIENDLY_NAME: usize = 64;

/// How long a key, a certificate or a service account may be, in characters. The limit is ours, not the vendor's.
const MAX_MATERIAL: usize = 16 * 1024;

/// What differs between the APIs.
#[derive(Debug, Clone, Copy)]
struct View {
    path: &'static str,
    max_page_size: usize,
}

pub(crate) fn routes() -> Router<App> {
    let views =
        [View { path: "/v1/Credentials", max_page_size: 100 }, View { path: "/v2/Credentials", max_page_size: 1_000 }];
    views.into_iter().fold(Router::new(), |router, view| {
        let routes = Router::new()
            .route(view.path, get(list).post(create))
            .route(&format!("{}/{{credential}}", view.path), get(fetch).post(update).delete(delete));
        router.merge(routes.layer(Extension(view)))
    })
}

async fn create(
    Extension(view): Extension<View>,
    Port(credentials): Port<dyn Credentials>,
    Port(vault): Port<dyn Vault>,
    Port(ids): Port<dyn Ids>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let channel = channel(form.required("Type")?)?;
    let (sid, now) = (ids.sid(), clock());
    let given = Given::read(&form, channel)?.ok_or_else(|| {
        ApiError::missing(match channel {
            Channel::Apn => "PrivateKey",
            Channel::Fcm => "Secret",
            Channel::Gcm => "ApiKey",
        })
    })?;
    let (method, sealed) = given.seal(&*vault, sid, now)?;
    let mut credential = Credential {
        sid,
        channel,
        friendly_name: None,
        sandbox: false,
        check: match channel.canonical() {
            Channel::Apn => RegistrationCheck::Once,
            Channel::Fcm | Channel::Gcm => RegistrationCheck::DryRun,
        },
        lifetime: None,
        method,
        sealed,
        health: Health::Unproven,
        outage: None,
        date_created: now,
        date_updated: now,
        used_since: now,
        version: 0,
    };
    change(&mut credential, &form)?;
    credentials.create_credential(&credential).await?;
    Ok((StatusCode::CREATED, Json(show(&request, view, &credential, now))).into_response())
}

async fn list(
    Extension(view): Extension<View>,
    Port(credentials): Port<dyn Credentials>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let listing = Listing::<CredentialSid>::of(&request.query, view.max_page_size)?;
    let page: Page<Credential> = credentials.credentials(listing.request).await?;
    let items = page.items.iter().map(|credential| show(&request, view, credential, clock())).collect();
    Ok(listing.show(&request.base_url, view.path, "credentials", &page, |credential| credential.sid, items))
}

async fn fetch(
    Extension(view): Extension<View>,
    Port(credentials): Port<dyn Credentials>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    Ok(Json(show(&request, view, &find(&*credentials, &request).await?, clock())).into_response())
}

async fn update(
    Extension(view): Extension<View>,
    Port(credentials): Port<dyn Credentials>,
    Port(vault): Port<dyn Vault>,
    Port(ids): Port<dyn Ids>,
    Port(pushes): Port<dyn Queue<PushMessage>>,
    State(clock): State<Clock>,
    request: ApiRequest,
) -> Result<Response, ApiError> {
    let form = request.form()?;
    let channel = form.get("Type").map(channel).transpose()?;
    let read = find(&*credentials, &request).await?;
    let (used_since, lifetime) = (read.used_since, read.lifetime());
    if channel.is_some_and(|channel| !channel.is(read.channel)) {
        return Err(ApiError::unfit("Type", "the channel of a credential cannot be changed"));
    }
    let given = Given::read(&form, channel.unwrap_or(read.channel))?;
    let sealed = given.map(|given| given.seal(&*vault, read.sid, clock())).transpose()?;
    let credential = update_credential(&*credentials, &*ids, clock, read, |credential| {
        let before = credential.clone();
        set(&mut credential.channel, channel);
        if let Some((method, sealed)) = &sealed {
            credential.method.clone_from(method);
            credential.sealed.clone_from(sealed);
        }
        change(credential, &form)?;
        if !credential.is_used_like(&before) {
            credential.health = Health::Unproven;
            credential.outage = None;
            // Clocks differ, and may be set back.
            credential.used_since = clock().max(before.used_since.plus(Duration::from_millis(1)));
        }
        Ok::<_, ApiError>(())
    })
    .await?
    .ok_or_else(|| request.not_found())?;
    if credential.used_since != used_since || credential.lifetime() != lifetime {
        // What is known of registrations with the earlier keys does not count any more, or they count for another time.
        pushes.send(&[PushMessage::ScanServices(ScanServices::default())]).await?;
    }
    Ok(Json(show(&request, view, &credential, clock())).into_response())
}

/// Removes a credential. Registrations that name it are not changed.
async fn delete(Port(credentials): Port<dyn Credentials>, request: ApiRequest) -> Result<StatusCode, ApiError> {
    request.deleted(credentials.delete_credential(request.credential()?).await?)
}

/// The credential that the path names.
async fn find(credentials: &dyn Credentials, request: &ApiRequest) -> Result<Credential, ApiError> {
    credentials.credential(request.credential()?).await?.ok_or_else(|| request.not_found())
}

fn channel(word: &str) -> Result<Channel, ApiError> {
    word.parse().map_err(|_| ApiError::invalid("Type", "apn, fcm or gcm"))
}

/// The parameter that names a platform application.
const PLATFORM_APPLICATION: &str = "PlatformApplicationArn";

/// The key material in a form. A form gives all of it or none.
struct Given {
    material: Material,
    /// The parameter that an error names if its cause does not tell which one is wrong.
    parameter: &'static str,
    /// Whether the form has other keys in addition to the ARN of a platform application.
    has_other_keys: bool,
}

impl Given {
    /// `None` if the form has no key material.
    fn read(form: &Params, channel: Channel) -> Result<Option<Self>, ApiError> {
        let given = |name| {
            let text = form.text(name, MAX_MATERIAL, ErrorCode::InvalidParameter);
            text.map(|text| text.filter(|text| !text.is_empty()))
        };
        let names: &[_] = match channel.canonical() {
            Channel::Apn => &["Certificate", "PrivateKey", "KeyId", "TeamId", "Topic"],
            Channel::Fcm | Channel::Gcm => &["Secret", "ApiKey"],
        };
        let mut has_keys = false;
        for name in names {
            has_keys |= given(name)?.is_some();
        }
        if let Some(arn) = given(PLATFORM_APPLICATION)? {
            let material = Material::PlatformApplication { channel, arn: arn.to_owned() };
            return Ok(Some(Self { material, parameter: PLATFORM_APPLICATION, has_other_keys: has_keys }));
        }
        if !has_keys {
            return Ok(None);
        }
        let (material, parameter) = match channel.canonical() {
            Channel::Apn => {
                let key = Secret::new(form.required("PrivateKey")?);
                let material = match given("Certificate")? {
                    Some(certificate) => Material::ApnsCertificate {
                        certificate: Secret::new(certificate),
                        key,
                        topic: given("Topic")?.map(str::to_owned),
                    },
                    None => Material::ApnsKey {
                        key_id: form.required("KeyId")?.to_owned(),
                        team_id: form.required("TeamId")?.to_owned(),
                        topic: form.required("Topic")?.to_owned(),
                        key,
                    },
                };
                (material, "PrivateKey")
            }
            Channel::Fcm | Channel::Gcm => {
                // The vendor has a parameter for FCM and one for GCM. Both take the same here.
                let name = if given("Secret")?.is_some() { "Secret" } else { "ApiKey" };
                (Material::ServiceAccount { json: Secret::new(form.required(name)?) }, name)
            }
        };
        Ok(Some(Self { material, parameter, has_other_keys: false }))
    }

    /// Checks the material. Returns the method and the sealed secret to store.
    fn seal(
        &self,
        vault: &dyn Vault,
        sid: CredentialSid,
        now: Timestamp,
    ) -> Result<(Method, Option<Sealed>), ApiError> {
        let sealed = vault.seal(sid, &self.material, now);
        // If the deployment has no platform applications, the error says so: removing the other keys would not help.
        if self.has_other_keys && !matches!(sealed, Err(VaultError::NoPlatformApplications)) {
            let why = "a platform application has its own keys, so the form must not have others";
            return Err(ApiError::unfit(self.parameter, why));
        }
        sealed.map_err(|error| match error {
            VaultError::Invalid(error) => refusal(&error, self.parameter),
            VaultError::NoPlatformApplications | VaultError::ForeignPlatformApplication => {
                ApiError::unfit(self.parameter, error)
            }
            VaultError::Unsealable(source) => ApiError::internal(source),
        })
    }
}

/// The error for invalid material. It names `parameter` if the cause does not tell which one is wrong.
fn refusal(error: &InvalidMaterial, parameter: &str) -> ApiError {
    let parameter = match error {
        InvalidMaterial::KeyId => "KeyId",
        InvalidMaterial::TeamId => "TeamId",
        InvalidMaterial::Topic | InvalidMaterial::NoTopic | InvalidMaterial::TopicOfAnotherType => "Topic",
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

/// Sets what is not key material. Creating and updating have these parameters in common.
fn change(credential: &mut Credential, form: &Params) -> Result<(), ApiError> {
    form.set_text(&mut credential.friendly_name, "FriendlyName", MAX_FRIENDLY_NAME, ErrorCode::InvalidParameter)?;
    set(&mut credential.sandbox, form.boolean("Sandbox")?);
    match form.get("RegistrationCheck") {
        None => {}
        Some("once") => credential.check = RegistrationCheck::Once,
        Some("silent") => credential.check = RegistrationCheck::Silent,
        Some("dry-run") => credential.check = RegistrationCheck::DryRun,
        Some("none") => credential.check = RegistrationCheck::None,
        Some(_) => return Err(ApiError::invalid("RegistrationCheck", "once, silent, dry-run or none")),
    }
    if let Some(days) = form.get("RegistrationDays") {
        let lifetime = days.parse().ok().and_then(|days| Lifetime::new(credential.channel, days));
        let range = match Lifetime::longest(credential.channel) {
            Lifetime::YEAR => "a number of days from 1 to 365",
            _ => "a number of days from 1 to 270",
        };
        credential.lifetime = Some(lifetime.ok_or_else(|| ApiError::invalid("RegistrationDays", range))?);
    }
    let has_dry_runs =
        credential.channel != Channel::Apn || matches!(credential.method, Method::PlatformApplication { .. });
    if credential.check == RegistrationCheck::DryRun && !has_dry_runs {
        return Err(ApiError::unfit("RegistrationCheck", "APNs has no dry runs"));
    }
    Ok(())
}

fn show<'a>(request: &ApiRequest, view: View, credential: &'a Credential, now: Timestamp) -> CredentialResource<'a> {
    let (status, reason, since) = match (&credential.outage, &credential.health) {
        (Some(Outage { reason, since }), _) => ("unreachable", Some(reason), Some(*since)),
        (None, Health::Unproven) => ("unproven", None, None),
        (None, Health::Accepted) => ("accepted", None, None),
        (None, Health::Mismatched { reason, at }) => ("mismatched", Some(reason), Some(*at)),
        (None, Health::Rejected { reason, at }) => ("rejected", Some(reason), Some(*at)),
    };
    CredentialResource {
        sid: credential.sid,
        account_sid: request.account_sid,
        friendly_name: credential.friendly_name.as_deref(),
        channel: credential.channel,
        sandbox: if credential.sandbox { "True" } else { "False" },
        date_created: credential.date_created.to_seconds(),
        date_updated: credential.date_updated.to_seconds(),
        url: format!("{}{}/{}", request.base_url, view.path, credential.sid),
        registration_check: credential.check,
        registration_days: credential.lifetime().days(),
        status,
        status_reason: reason,
        status_date: since.map(Timestamp::to_seconds),
        certificate_status: credential.validity(now).map(Validity::as_str),
        method: MethodMembers::of(&credential.method),
    }
}

#[derive(Serialize)]
struct CredentialResource<'a> {
    sid: CredentialSid,
    account_sid: AccountSid,
    friendly_name: Option<&'a str>,
    #[serde(rename = "type")]
    channel: Channel,
    /// `True` or `False`: in the vendor's API this is a text.
    sandbox: &'static str,
    date_created: String,
    date_updated: String,
    url: String,
    registration_check: RegistrationCheck,
    registration_days: u16,
    status: &'static str,
    status_reason: Option<&'a Reason>,
    status_date: Option<String>,
    certificate_status: Option<&'static str>,
    #[serde(flatten)]
    method: MethodMembers<'a>,
}

/// The members that describe the method. A member that the method does not have is null.
#[derive(Serialize, Default)]
struct MethodMembers<'a> {
    method: &'static str,
    key_id: Option<&'a str>,
    team_id: Option<&'a str>,
    topic: Option<&'a str>,
    certificate_expires: Option<String>,
    project_id: Option<&'a str>,
    client_email: Option<&'a str>,
    private_key_id: Option<&'a str>,
    platform_application_arn: Option<&'a str>,
}

impl<'a> MethodMembers<'a> {
    fn of(method: &'a Method) -> Self {
        match method {
            Method::ApnsKey { key_id, team_id, topic } => Self {
                method: "apns_key",
                key_id: Some(key_id),
                team_id: Some(team_id),
                topic: Some(topic),
                ..Self::default()
            },
            Method::ApnsCertificate { topic, not_after } => Self {
                method: "apns_certificate",
                topic: Some(topic),
                certificate_expires: Some(not_after.to_seconds()),
                ..Self::default()
            },
            Method::ServiceAccount { project_id, client_email, private_key_id } => Self {
                method: "service_account",
                project_id: Some(project_id),
                client_email: Some(client_email),
                private_key_id: Some(private_key_id),
                ..Self::default()
            },
            Method::PlatformApplication { arn } => {
                Self { method: "platform_application", platform_application_arn: Some(arn), ..Self::default() }
            }
        }
    }
}
