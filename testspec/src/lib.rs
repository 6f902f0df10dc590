//! The test-nginx spec language, its runner and its reports.
