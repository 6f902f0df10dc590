//! One sentence about each section of a spec file.

/// What a section means.
pub(crate) fn about(name: &str) -> Option<&'static str> {
    let found = SECTIONS.binary_search_by_key(&name, |(section, _)| section).ok()?;
    SECTIONS.get(found).map(|(_, text)| *text)
}

const SECTIONS: &[(&str, &str)] = &[
    ("LAST", "No block after this one runs. For a moment at the keyboard."),
    ("ONLY", "Only this block of the file runs. For a moment at the keyboard."),
    ("SKIP", "The block does not run."),
    ("abort", "The client closes the connection once its time is over."),
    ("access_log", "Lines or patterns that the access log must have."),
    ("config", "Configuration inside the `server` block."),
    ("curl", "The request is sent by curl."),
    ("error_code", "The status that the response must have; 200 unless given."),
    ("error_code_like", "A pattern for the status of the response."),
    ("error_log", "Lines or patterns that the error log must have."),
    ("grep_error_log", "A pattern; what it matches in the error log is compared with `grep_error_log_out`."),
    ("grep_error_log_out", "What `grep_error_log` must have found."),
    ("http_config", "Configuration inside the `http` block."),
    ("ignore_response", "The response is not looked at."),
    ("log_level", "The level of the error log."),
    ("main_config", "Configuration outside all blocks."),
    ("more_headers", "Further headers of the request."),
    ("must_die", "The server must refuse the configuration."),
    ("no_access_log", "Lines or patterns that the access log must not have."),
    ("no_error_log", "Lines or patterns that the error log must not have."),
    ("no_shutdown_error_log", "Lines or patterns that the error log must not have after the server has ended."),
    ("pipelined_requests", "Requests that are sent one after another without waiting."),
    ("post_main_config", "Configuration outside all blocks, behind `http`."),
    ("raw_request", "The bytes of the request."),
    ("raw_request_middle_delay", "Seconds between the pieces of a raw request."),
    ("raw_response_headers_like", "A pattern for the response's headers as they were sent."),
    ("request", "Method, URI and perhaps a body."),
    ("request_eval", "The request, as the value of a Perl expression."),
    ("response_body", "The body that the response must have."),
    ("response_body_filters", "Functions that the body goes through before it is compared."),
    ("response_body_like", "A pattern for the body of the response."),
    ("response_body_unlike", "A pattern that the body of the response must not match."),
    ("response_headers", "Headers that the response must have; `!name` must not be there."),
    ("response_headers_like", "Headers of the response, each with a pattern."),
    ("shutdown_error_log", "Lines or patterns that the error log must have after the server has ended."),
    ("skip_nginx", "A condition on the version of nginx under which the block does not run."),
    ("stream_config", "Configuration inside the `stream` block."),
    ("stream_request", "What is sent to the stream server."),
    ("stream_response", "What the stream server must answer."),
    ("stream_server_config", "Configuration inside the `server` block of `stream`."),
    ("tcp_listen", "A port or socket on which the runner listens as a peer of the server."),
    ("tcp_query", "What the server must send to `tcp_listen`."),
    ("tcp_reply", "What `tcp_listen` answers."),
    ("timeout", "Seconds that the client waits."),
    ("udp_listen", "A port or socket on which the runner takes datagrams."),
    ("udp_query", "The datagram that the server must send to `udp_listen`."),
    ("udp_reply", "The datagram that `udp_listen` answers with."),
    ("user_files", "Files below the document root: `>>> name` and their content."),
    ("wait", "Seconds to wait before the logs are looked at."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(SECTIONS.is_sorted_by_key(|(name, _)| *name));
        assert!(about("request").is_some() && about("none").is_none());
    }
}
