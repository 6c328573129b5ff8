//! The numbers of the vendor's catalogue of errors that are answered with here.

/// A number of the vendor's catalogue of errors. `https://www.twilio.com/docs/errors/` has a page about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ErrorCode {
    /// A parameter is missing or has a value that it cannot have, or the request cannot be read.
    InvalidParameter = 20001,
    /// The credentials are missing or wrong.
    Unauthorized = 20003,
    /// The resource has no such method.
    MethodNotAllowed = 20004,
    /// The caller is known, and may not do this.
    Forbidden = 20403,
    /// There is no such resource.
    NotFound = 20404,
    /// Something went wrong behind the scenes. Trying again may not help.
    Internal = 20500,
    /// The store or a queue is not available. Trying again helps.
    Unavailable = 20503,
    /// Chat: a service is to have an empty name.
    FriendlyNameNotProvided = 50000,
    /// The name of a service or of a user is too long.
    FriendlyNameTooLong = 50003,
    /// A webhook's URL is too long, or is not an absolute `http` or `https` URL.
    WebhookUrl = 50054,
    /// A webhook's method is neither GET nor POST.
    WebhookMethod = 50055,
    /// The text of a notification setting is too long.
    NotificationTemplateTooLong = 50058,
    /// The name of a notification setting's sound is too long.
    NotificationSoundTooLong = 50059,
    /// The number of times that a webhook is tried again is out of range.
    WebhookRetryCount = 50065,
    /// The identity is taken by another user of the service.
    UserExists = 50201,
    /// An identity has the form of a user's sid.
    IdentityLooksLikeSid = 50206,
    /// An identity has too many characters.
    IdentityTooLong = 50207,
    /// The push channel of a binding is not one that there is.
    BindingType = 50209,
    /// Others changed the same record, again and again.
    ConflictingModification = 50213,
    /// A user's attributes are too long.
    AttributesTooLong = 50303,
    /// A user's attributes are not JSON.
    AttributesNotJson = 50304,
}

impl ErrorCode {
    /// The number.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}
