//! Calls that come as forms: transcriptions and translations of audio, and edits of images.

use super::multipart::{Form, FormField, Scanner};
use super::pieces::IMAGE_MODEL;
use super::splice::{ModelSlot, Slot};
use super::{Call, RequestError, check_model};
use crate::provider::endpoint::Endpoint;

pub(super) fn read(
    endpoint: Endpoint,
    content_type: &str,
    body: &[u8],
) -> Result<Call, RequestError> {
    let mut scanner = Scanner::new(content_type)?;
    scanner.push(body)?;
    let boundary = scanner.boundary().to_owned();
    call(endpoint, &boundary, &scanner.finish()?)
}

/// The call that a form is, by what has come of it.
pub(super) fn call(endpoint: Endpoint, boundary: &str, form: &Form) -> Result<Call, RequestError> {
    let param = FormField::Model.name();
    let is_edit = endpoint == Endpoint::ImageEdits;
    let (model, slot) = match (form.get(FormField::Model), form.place(FormField::Model)) {
        (Some(model), Some(at)) => (model, Slot::value(at)),
        _ if is_edit => (IMAGE_MODEL, new_part(boundary)),
        _ => return Err(RequestError::Missing(param)),
    };
    check_model(param, model)?;
    if form.files == 0 && !form.has_url {
        return Err(RequestError::Missing(if is_edit { "image" } else { "file" }));
    }
    let mut call = Call::new(endpoint, model.to_owned(), 0);
    call.must_name_model = form.place(FormField::Model).is_none();
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
