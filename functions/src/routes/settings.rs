//! The parameters of a service's settings that Conversations and Chat have in common.

use axum::http::Uri;
use reachability_domain::directory::configuration::Configuration;
use reachability_domain::directory::service::{NotificationSetting, Service, WebhookMethod, Webhooks};
use reachability_domain::sid::RoleSid;
use reachability_domain::time::Timestamp;

use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::params::{Params, set};

/// How long a service's name may be, in characters.
pub(super) const MAX_FRIENDLY_NAME: usize = 256;
/// How long a URL of a webhook may be. The limit is ours, not the vendor's.
const MAX_URL: usize = 2_048;
/// How many events a webhook may name. The limit is ours, not the vendor's.
const MAX_FILTERS: usize = 64;
/// How long a notification's text may be, in characters. The limit is ours, not the vendor's.
const MAX_TEMPLATE: usize = 2_048;
/// How long the name of a sound may be, in characters. The limit is ours, not the vendor's.
pub(super) const MAX_SOUND: usize = 256;

/// Sets reachability from `ReachabilityEnabled`.
pub(super) fn set_reachability(service: &mut Service, form: &Params, now: Timestamp) -> Result<(), ApiError> {
    if let Some(enabled) = form.boolean("ReachabilityEnabled")? {
        let configuration = &mut service.configuration;
        let is_last = configuration.generation >= Configuration::MAX_GENERATION;
        if enabled && !configuration.reachability_enabled && is_last {
            let limit = Configuration::MAX_GENERATION.0;
            let why = format_args!("reachability of a service can be switched on {limit} times");
            return Err(ApiError::unfit("ReachabilityEnabled", why));
        }
        configuration.set_reachability_enabled(enabled, now);
    }
    Ok(())
}

/// A parameter that is a role's sid.
pub(super) fn role(form: &Params, name: &str) -> Result<Option<RoleSid>, ApiError> {
    form.parsed(name, "RL followed by 32 hexadecimal digits")
}

/// Sets a notification from `{prefix}.Enabled`, `.Template` and `.Sound`.
pub(super) fn set_notification(target: &mut NotificationSetting, form: &Params, prefix: &str) -> Result<(), ApiError> {
    set(&mut target.enabled, form.boolean(&format!("{prefix}.Enabled"))?);
    form.set_text(
        &mut target.template,
        &format!("{prefix}.Template"),
        MAX_TEMPLATE,
        ErrorCode::NotificationTemplateTooLong,
    )?;
    form.set_text(&mut target.sound, &format!("{prefix}.Sound"), MAX_SOUND, ErrorCode::NotificationSoundTooLong)
}

/// Sets the webhooks from `PreWebhookUrl` and `PostWebhookUrl`, and from the parameters `method` and `filters`, which
/// have another name in each API.
pub(super) fn set_webhooks(target: &mut Webhooks, form: &Params, method: &str, filters: &str) -> Result<(), ApiError> {
    for (url, name) in
        [(&mut target.pre_webhook_url, "PreWebhookUrl"), (&mut target.post_webhook_url, "PostWebhookUrl")]
    {
        form.set_text(url, name, MAX_URL, ErrorCode::WebhookUrl)?;
        if url.as_deref().is_some_and(|url| !is_http_url(url)) {
            return Err(ApiError::refused(
                ErrorCode::WebhookUrl,
                format!("{name} is not an absolute http or https URL"),
            ));
        }
    }
    match form.get(method) {
        None => {}
        Some("") => target.method = None,
        Some(word) if word.eq_ignore_ascii_case("GET") => target.method = Some(WebhookMethod::Get),
        Some(word) if word.eq_ignore_ascii_case("POST") => target.method = Some(WebhookMethod::Post),
        Some(_) => {
            return Err(ApiError::refused(ErrorCode::WebhookMethod, format!("{method} is neither GET nor POST")));
        }
    }
    if form.get(filters).is_some() {
        let names: Vec<String> = form.all(filters).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let is_name = |name: &String| name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if names.len() > MAX_FILTERS || !names.iter().all(is_name) {
            return Err(ApiError::invalid(filters, format!("at most {MAX_FILTERS} names of events")));
        }
        target.filters = (!names.is_empty()).then_some(names);
    }
    Ok(())
}

fn is_http_url(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok().filter(|_| url.is_ascii());
    let authority =
        uri.as_ref().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https"))).and_then(Uri::authority);
    authority.is_some_and(|authority| {
        let (host, text) = (authority.host(), authority.as_str());
        let after_name = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
        // What follows the host is its port.
        !host.is_empty() && (after_name == host || authority.port_u16().is_some())
    })
}
