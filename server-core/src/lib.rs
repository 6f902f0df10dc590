//! The web server of rsty.
