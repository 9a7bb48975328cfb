//! The few elements of XML that answers are made of.

/// `<name>content</name>`; the content is XML already.
pub(super) fn element(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

/// `<name>text</name>`, escaped.
pub(super) fn text(name: &str, text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    element(name, &escaped)
}

/// The element, or nothing.
pub(super) fn maybe(name: &str, value: Option<impl std::fmt::Display>) -> String {
    value.map(|value| text(name, value)).unwrap_or_default()
}

/// A list of elements in one.
pub(super) fn list(name: &str, members: impl IntoIterator<Item = String>) -> String {
    element(name, &members.into_iter().collect::<String>())
}
