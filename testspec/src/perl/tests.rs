//! Perl's behaviour, rule by rule.
