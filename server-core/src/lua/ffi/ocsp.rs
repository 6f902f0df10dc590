//! OCSP: who says whether a certificate is still good, what to ask, and what the answer means (`ngx.ocsp`).

use std::ffi::{CStr, c_char, c_int, c_long};

use openssl::asn1::Asn1GeneralizedTimeRef;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus};
use openssl::ssl::SslRef;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};
use openssl_sys as sys;

use super::ssl::{Failed, code, failed, ssl};
use super::{BUSY, DECLINED, ERROR, ErrorOut as _, OK, bytes, copy_to, export, store, write_error};
use crate::http::modules::calendar::parse_http_date;
use crate::http::request::Request;

/// `SSL_CTRL_GET_TLSEXT_STATUS_REQ_TYPE`
const STATUS_TYPE: c_int = 127;
/// Seconds by which the clocks of two machines may differ.
const CLOCK_SKEW: u32 = 300;

/// A certificate and the rest of the chain behind it.
fn leaf(chain: &[u8]) -> Result<(X509, &[u8]), Failed> {
    let text = c"d2i_X509_bio() failed";
    let certificate = X509::from_der(chain).map_err(failed(text))?;
    let length = certificate.to_der().map_err(failed(text))?.len();
    Ok((certificate, chain.get(length..).unwrap_or_default()))
}

/// The certificate that stands behind the first one of a chain.
fn issuer(rest: &[u8]) -> Result<X509, Failed> {
    if rest.is_empty() { Err(c"no issuer certificate in chain") } else { leaf(rest).map(|(issuer, _)| issuer) }
}

/// The address of the first certificate's responder, if it names one.
fn responder(chain: &[u8]) -> Result<Option<Vec<u8>>, Failed> {
    let (certificate, rest) = leaf(chain)?;
    let Ok(responders) = certificate.ocsp_responders() else {
        drop(openssl::error::ErrorStack::get());
        return Ok(None);
    };
    let Some(address) = responders.iter().next().map(|address| address.as_bytes().to_vec()) else { return Ok(None) };
    if issuer(rest)?.issued(&certificate) != X509VerifyResult::OK {
        return Err(c"issuer certificate not next to leaf");
    }
    Ok(Some(address))
}

/// A request about the first certificate of a chain, as DER.
fn request(chain: &[u8]) -> Result<Vec<u8>, Failed> {
    let (certificate, rest) = leaf(chain)?;
    let issuer = issuer(rest)?;
    let mut request = OcspRequest::new().map_err(failed(c"OCSP_REQUEST_new() failed"))?;
    let id = OcspCertId::from_cert(MessageDigest::sha1(), &certificate, &issuer);
    request
        .add_id(id.map_err(failed(c"OCSP_cert_to_id() failed"))?)
        .map_err(failed(c"OCSP_request_add0_id() failed"))?;
    request.to_der().map_err(failed(c"i2d_OCSP_REQUEST() failed"))
}

/// Why an answer is not to be trusted.
enum Refused {
    Text(Failed),
    Told(String),
}

impl From<Failed> for Refused {
    fn from(text: Failed) -> Self {
        Self::Text(text)
    }
}

/// Whether an answer says that the first certificate of a chain is good; until when, if it says so.
fn validate(answer: &[u8], chain: &[u8]) -> Result<Option<i64>, Refused> {
    let answer = OcspResponse::from_der(answer).map_err(failed(c"d2i_OCSP_RESPONSE() failed"))?;
    let status = answer.status();
    if status != OcspResponseStatus::SUCCESSFUL {
        let (number, name) = (status.as_raw(), response_status(status));
        return Err(Refused::Told(format!("OCSP response not successful ({number}: {name})")));
    }
    let basic = answer.basic().map_err(failed(c"OCSP_response_get1_basic() failed"))?;
    let (certificate, rest) = leaf(chain)?;
    let issuer = issuer(rest)?;
    let id = OcspCertId::from_cert(MessageDigest::sha1(), &certificate, &issuer);
    let mut trusted = Stack::new().map_err(failed(c"sk_X509_new_null() failed"))?;
    trusted.push(issuer).map_err(failed(c"sk_X509_push() failed"))?;
    let roots = X509StoreBuilder::new().map_err(failed(c"X509_STORE_new() failed"))?.build();
    basic.verify(&trusted, &roots, OcspFlag::NO_VERIFY).map_err(failed(c"OCSP_basic_verify() failed"))?;
    let id = id.map_err(failed(c"OCSP_cert_to_id() failed"))?;
    let status = basic.find_status(&id).ok_or(c"certificate status not found in the OCSP response")?;
    if status.status != OcspCertStatus::GOOD {
        let name = if status.status == OcspCertStatus::REVOKED { "revoked" } else { "unknown" };
        return Err(Refused::Told(format!("certificate status \"{name}\" in the OCSP response")));
    }
    status.check_validity(CLOCK_SKEW, None).map_err(failed(c"OCSP_check_validity() failed"))?;
    let next = status.next_update().map(seconds);
    next.map(|next| next.ok_or(c"invalid nextUpdate time in certificate status".into())).transpose()
}

fn response_status(status: OcspResponseStatus) -> &'static str {
    match status {
        OcspResponseStatus::MALFORMED_REQUEST => "malformedrequest",
        OcspResponseStatus::INTERNAL_ERROR => "internalerror",
        OcspResponseStatus::TRY_LATER => "trylater",
        OcspResponseStatus::SIG_REQUIRED => "sigrequired",
        OcspResponseStatus::UNAUTHORIZED => "unauthorized",
        _ => "(UNKNOWN)",
    }
}

/// A time in seconds since the epoch. It prints as `Feb  3 00:55:52 2015 GMT`: `asctime` without the day of the week.
fn seconds(time: &Asn1GeneralizedTimeRef) -> Option<i64> {
    let text = time.to_string();
    parse_http_date(format!("Tue {}", text.strip_suffix(" GMT").unwrap_or(&text)).as_bytes())
}

/// Hands out bytes, cut to the caller's room, which becomes their length.
///
/// # Safety
/// `room` is writable, `out` for `*room` bytes.
unsafe fn give(data: &[u8], out: *mut u8, room: *mut usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let fits = data.len() <= *room;
        let length = data.len().min(*room);
        copy_to(out, data.get(..length).unwrap_or_default());
        *room = length;
        if fits { OK } else { BUSY }
    }
}

/// Staples an answer to the handshake; false when the client did not ask for one.
fn staple(ssl: &SslRef, answer: &[u8]) -> Result<bool, Failed> {
    use foreign_types::ForeignTypeRef as _;
    // SAFETY: a valid connection; the control reads a number.
    let asked = unsafe { sys::SSL_ctrl(ssl.as_ptr(), STATUS_TYPE, 0, std::ptr::null_mut()) };
    if asked == -1 {
        return Ok(false);
    }
    // SAFETY: the same connection; nobody else uses it during the call.
    let ssl = unsafe { SslRef::from_ptr_mut(ssl.as_ptr()) };
    ssl.set_ocsp_status(answer).map_err(failed(c"SSL_set_tlsext_status_ocsp_resp() failed"))?;
    Ok(true)
}

export! {
    /// The address of the responder that the first certificate of a chain (concatenated DER) names.
    ngx_http_lua_ffi_ssl_get_ocsp_responder_from_der_chain(
        chain: *const u8, chain_len: usize, out: *mut u8, room: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        match responder(unsafe { bytes(chain, chain_len) }) {
            // SAFETY: as above.
            Ok(Some(address)) => unsafe { give(&address, out, room) },
            Ok(None) => DECLINED,
            Err(text) => code(Err(text), err),
        }
    }

    /// A request about the first certificate of a chain.
    ngx_http_lua_ffi_ssl_create_ocsp_request(
        chain: *const u8, chain_len: usize, out: *mut u8, room: *mut usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        match request(unsafe { bytes(chain, chain_len) }) {
            // SAFETY: as above: the room is readable and writable, and large enough when that is said.
            Ok(der) => unsafe {
                if der.len() > *room {
                    store(room, der.len());
                    err.report(c"output buffer too small");
                    return BUSY;
                }
                give(&der, out, room)
            },
            Err(text) => code(Err(text), err),
        }
    }

    /// Whether an answer says that the first certificate of a chain is good.
    ngx_http_lua_ffi_ssl_validate_ocsp_response(
        answer: *const u8, answer_len: usize, chain: *const u8, chain_len: usize, buf: *mut u8, buf_len: *mut usize,
        next_update: *mut c_long
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        unsafe {
            match validate(bytes(answer, answer_len), bytes(chain, chain_len)) {
                Ok(next) => {
                    if let Some(next) = next {
                        store(next_update, next);
                    }
                    return OK;
                }
                Err(Refused::Text(text)) => write_error(buf, buf_len, CStr::to_bytes(text)),
                Err(Refused::Told(text)) => write_error(buf, buf_len, text.as_bytes()),
            }
        }
        ERROR
    }

    /// Staples an answer to the handshake that a script serves.
    ngx_http_lua_ffi_ssl_set_ocsp_status_resp(
        r: *const Request, answer: *const u8, answer_len: usize, err: *mut *mut c_char
    ) -> c_int {
        // SAFETY: the contract of the parent module.
        let stapled = unsafe { ssl(r).and_then(|ssl| staple(ssl, bytes(answer, answer_len))) };
        code(stapled.map(|stapled| if stapled { OK } else { DECLINED }), err)
    }
}
