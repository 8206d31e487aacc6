//! Calls that come as forms: transcriptions and translations of audio, and edits of images.

use super::multipart::{Form, FormField, Scanner};
use super::pieces::IMAGE_MODEL;
use super::splice::{ModelSlot, Slot};
use super::{Call, RequestError, check_model};
use crate::provider::endpoint::Endpoint;

pub(super) fn read(
    endpoint: Endpoint,
    named: Option<&str>,
    content_type: &str,
    body: &[u8],
) -> Result<Call, RequestError> {
    let mut scanner = Scanner::new(content_type)?;
    scanner.push(body)?;
    let boundary = scanner.boundary().to_owned();
    call(endpoint, named, &boundary, &scanner.finish()?)
}

/// The call that a form is, by what has come of it. Its model is found as [`super::splice::model_of`]
/// finds that of an object.
pub(super) fn call(
    endpoint: Endpoint,
    named: Option<&str>,
    boundary: &str,
    form: &Form,
) -> Result<Call, RequestError> {
    let param = FormField::Model.name();
    let is_edit = endpoint == Endpoint::ImageEdits;
    let (written, at) = (form.get(FormField::Model), form.place(FormField::Model));
    let model = named.or(written).or(is_edit.then_some(IMAGE_MODEL));
    let model = model.ok_or(RequestError::Missing(param))?;
    check_model(param, model)?;
    if form.files == 0 && !form.has_url {
        return Err(RequestError::Missing(if is_edit { "image" } else { "file" }));
    }
    let mut call = Call::new(endpoint, model.to_owned(), 0);
    call.must_name_model = named.is_some() || at.is_none();
    let slot = at.map_or_else(|| new_part(boundary), Slot::value);
    call.models.push(ModelSlot { slot, prefix: "", is_json: false });
    call.is_form = true;
    call.body_bytes = form.text_bytes;
    call.prompt_bytes = form.prompt_bytes;
    call.stream = flag(form, FormField::Stream)?;
    if is_edit {
        call.images = number(form, FormField::N)?.unwrap_or(1).max(1);
        call.image_size = form.get(FormField::Size).map(str::to_owned);
        call.image_quality = form.get(FormField::Quality).map(str::to_owned);
        call.partial_images = number(form, FormField::PartialImages)?.unwrap_or(0);
        call.media = form.files > 0;
        call.images_in = call.media.then_some(form.files);
    } else {
        call.audio_bytes = form.file_bytes;
        call.media = true;
        call.unseen_input = form.has_url;
    }
    Ok(call)
}

/// The first part of a form, which names the model.
fn new_part(boundary: &str) -> Slot {
    let before = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n");
    Slot { at: 0..0, before: before.into(), after: "\r\n" }
}

/// A flag as forms write it: some clients send Python's words.
fn flag(form: &Form, field: FormField) -> Result<bool, RequestError> {
    match form.get(field) {
        None | Some("" | "false" | "False" | "0") => Ok(false),
        Some("true" | "True" | "1") => Ok(true),
        Some(_) => Err(RequestError::WrongType { param: field.name(), expected: "a boolean" }),
    }
}

fn number(form: &Form, field: FormField) -> Result<Option<u64>, RequestError> {
    let expected = "a non-negative integer";
    let error = RequestError::WrongType { param: field.name(), expected };
    form.get(field).map(|text| text.parse().map_err(|_| error.clone())).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::{Edits, Head, read as read_any, rewrite};
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=b";

    fn part(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    fn file(name: &str, value: &str) -> String {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"; filename=\"f\"");
        format!("--b\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n{value}\r\n")
    }

    fn transcription(form: &str) -> Result<Call, RequestError> {
        read(Endpoint::Transcriptions, None, TYPE, form.as_bytes())
    }

    #[test]
    fn the_facts_of_a_transcription_are_read() {
        let form = file("file", &"a".repeat(500))
            + &part("model", "whisper-1")
            + &part("stream", "true")
            + &part("prompt", "hm")
            + "--b--";
        let call = transcription(&form).expect("a call");
        assert_eq!((&*call.model, call.audio_bytes, call.stream), ("whisper-1", 500, true));
        assert_eq!((call.prompt_bytes, call.unseen_input), (2, false));
        assert!(call.body_bytes < 20 && call.is_form);
        let remote = part("model", "m") + &part("url", "https://a.test/b.mp3") + "--b--";
        assert_eq!(transcription(&remote).map(|call| call.unseen_input), Ok(true));
        assert_eq!(
            transcription(&(part("model", "m") + "--b--")),
            Err(RequestError::Missing("file"))
        );
        assert_eq!(
            transcription(&(file("file", "") + "--b--")),
            Err(RequestError::Missing("model"))
        );
        let odd = file("file", "") + &part("model", "m") + &part("stream", "maybe") + "--b--";
        let error = RequestError::WrongType { param: "stream", expected: "a boolean" };
        assert_eq!(transcription(&odd), Err(error));
        let plain = read(Endpoint::Transcriptions, None, "application/json", b"{}");
        assert_eq!(plain.map_err(|error| error.param()), Err(None));
    }

    #[test]
    fn the_facts_of_an_edit_are_read_and_its_model_is_always_named() {
        let form = file("image[]", "x")
            + &file("image[]", "y")
            + &part("n", "2")
            + &part("size", "512x512")
            + &part("quality", "low")
            + &part("prompt", "a")
            + "--b--\r\n";
        let body = Bytes::from(form.clone());
        let head = Head { model: None, content_type: Some(TYPE) };
        let call = read_any(Endpoint::ImageEdits, &head, &body).expect("a call");
        assert_eq!((call.images, call.images_in, &*call.model), (2, Some(2), "dall-e-2"));
        assert_eq!(call.image_size.as_deref(), Some("512x512"));
        let out = rewrite(&body, &call, &Edits::default());
        assert_eq!(out, part("model", "dall-e-2") + &form);
        assert_eq!(read_any(Endpoint::ImageEdits, &head, &out).map(|call| call.images), Ok(2));
    }

    proptest! {
        #[test]
        fn only_the_model_is_rewritten(
            before in "[a\r\n-]{0,40}", after in "[a\r\n-]{0,40}",
            model in "[^\\p{Cc}]{1,20}", other in "[^\\p{Cc}]{1,20}",
        ) {
            let form = |model: &str| {
                Bytes::from(file("file", &before) + &part("model", model) + &part("x", &after) + "--b--\r\n")
            };
            let head = Head { model: None, content_type: Some(TYPE) };
            if let Ok(call) = read_any(Endpoint::Transcriptions, &head, &form(&model)) {
                prop_assert_eq!(&call.model, &model);
                let edits = Edits { model: Some(&other), include_usage: true, output_cap: Some(1), old_cap: false };
                prop_assert_eq!(rewrite(&form(&model), &call, &edits), form(&other));
                let same = rewrite(&form(&model), &call, &Edits::default());
                prop_assert_eq!(same, form(&model));
            }
        }
    }
}
