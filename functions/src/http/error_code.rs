//! The numbers from the vendor's error catalogue that the API answers with.

/// A number from the vendor's error catalogue. `https://www.twilio.com/docs/errors/` has a page for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ErrorCode {
    /// A parameter is missing or has an invalid value, or the request cannot be read.
    InvalidParameter = 20001,
    /// The credentials are missing or wrong.
    Unauthorized = 20003,
    /// The resource has no such method.
    MethodNotAllowed = 20004,
    /// The caller is not allowed to do this.
    Forbidden = 20403,
    /// There is no such resource.
    NotFound = 20404,
    /// Too much waits already, or was wrong already. Trying again later helps.
    TooManyRequests = 20429,
    /// An internal error, or something that this deployment does not have. Trying again may not help.
    Internal = 20500,
    /// The store or a queue is not available, or too much is going on. Trying again helps.
    Unavailable = 20503,
    /// Chat: the new name of a service is empty.
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
    /// The number of retries of a webhook is out of range.
    WebhookRetryCount = 50065,
    /// A client may not change another user.
    NotAuthorized = 50107,
    /// Another user of the service has the identity.
    UserExists = 50201,
    /// An identity has the form of a user's sid.
    IdentityLooksLikeSid = 50206,
    /// An identity has too many characters.
    IdentityTooLong = 50207,
    /// The push channel of a binding is unknown.
    BindingType = 50209,
    /// Others changed the same record at every attempt.
    ConflictingModification = 50213,
    /// A user's attributes are too long.
    AttributesTooLong = 50303,
    /// A user's attributes are not JSON.
    AttributesNotJson = 50304,
    /// Another channel of the service has the type and id.
    ChannelExists = 50307,
    /// Sync: there is no such map.
    MapNotFound = 54200,
}

impl ErrorCode {
    pub(crate) fn number(self) -> u32 {
        self as u32
    }
}
