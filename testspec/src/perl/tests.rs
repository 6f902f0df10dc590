//! Perl's behaviour, rule by rule: each snippet with the value that Perl 5.36 gives.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::model::Value;

/// A world without modules, files or shell.
struct Nowhere;

impl Host for Nowhere {
    fn module(&self, _: &str) -> Option<&'static NativeModule> {
        None
    }

    fn library_paths(&self) -> &[PathBuf] {
        &[]
    }

    fn add_library_path(&mut self, _: PathBuf) {}

    fn working_directory(&self) -> &Path {
        Path::new("/nonexistent")
    }

    fn change_directory(&mut self, _: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn may_remove_tree(&self, _: &Path) -> bool {
        false
    }

    fn may_write(&self, path: &Path) -> Result<(), String> {
        Err(format!("{} is refused", path.display()))
    }

    fn server_version(&self) -> Vec<u8> {
        Vec::new()
    }

    fn shell(&mut self, _: &[u8], _: &[(Vec<u8>, Vec<u8>)]) -> Result<(Vec<u8>, i32), String> {
        Err("no shell here".to_owned())
    }
}

fn interpreter() -> Interpreter {
    Interpreter::new(Box::new(Nowhere), Limits { steps: 20_000, bytes: 1 << 20, depth: 60 })
}

/// The values of a snippet, or the message it dies with; `Err` where it is outside the subset.
fn run(code: &str) -> Result<Result<Vec<Value>, String>, String> {
    let result = interpreter().eval_apart(code.as_bytes(), "Test::Base::Filter", Want::List);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    result.map(|result| result.map_err(text)).map_err(|stop| text(Interpreter::error(stop).message))
}

/// A snippet's values, shown.
fn shown(code: &str) -> String {
    match run(code) {
        Ok(Ok(values)) => values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(" "),
        Ok(Err(message)) => format!("died: {message}"),
        Err(message) => format!("refused: {message}"),
    }
}

/// A snippet's first value as text.
fn value(code: &str) -> String {
    match run(code) {
        Ok(Ok(values)) => values.first().map(Value::to_text).unwrap_or_default(),
        other => format!("{other:?}"),
    }
}

fn check(rules: &[(&str, &str)]) {
    for (code, expected) in rules {
        assert_eq!(value(code), *expected, "{code}");
    }
}

#[test]
fn operators_bind_as_in_perl() {
    check(&[
        ("1+2*3 ** 2", "19"),
        ("-2 ** 2", "-4"),
        ("2 ** 3 ** 2", "512"),
        ("10 - 5 . 3", "53"),
        ("'a' . 1 + 2", "2"),
        ("8 >> 1 + 1", "2"),
        ("1 - 2 - 3", "-4"),
        ("-7 % 3", "2"),
        ("'a' x 3 . 'b'", "aaab"),
        ("0 ? 2 : 0 ? 4 : 5", "5"),
        ("not 1 || 1", ""),
        ("undef // 'x'", "x"),
        ("'10' == 10.0", "1"),
        ("'val=' . (5 < 3)", "val="),
        ("my ($x, $y) = (1, 2); ($x, $y) = ($y, $x); \"$x$y\"", "21"),
        ("my $x = 7; $x += 1; $x -= 2; $x *= 3; $x /= 2; $x **= 2; $x %= 50; $x", "31"),
    ]);
}

#[test]
fn numbers_and_strings_turn_into_each_other() {
    check(&[
        ("'3 apples' + 2", "5"),
        ("'0x10' + 0", "0"),
        ("1_000_000 + 0x1f + 0b11 + 017", "1000049"),
        ("1e16", "1e+16"),
        ("1/3", "0.333333333333333"),
        ("my $x = 'az'; $x++; $x", "ba"),
        ("my $x = 'Zz'; $x++; $x", "AAa"),
        ("1.25.5 eq \"\\x01\\x19\\x05\"", "1"),
        ("length('h\u{e9}')", "3"),
    ]);
}

#[test]
fn strings_interpolate() {
    check(&[
        ("my $x = 5; \"${x}5 $x-1 @{[ $x + 1 ]} ${\\ ($x*2)}\"", "55 5-1 6 10"),
        ("my @a=(1,2,3); \"$a[0] $a[-1] $#a $a[$#a] @a[0,1]\"", "1 3 2 3 1 2"),
        ("my $h={k=>{j=>['v']}}; \"$h->{k}{j}[0] $$h{k}{j}->[0] ${$h->{k}}{j}[0]\"", "v v v"),
        ("my $o = 'x'; \"a->b $o->c\"", "a->b x->c"),
        ("\"\\u\\LHELLO world\\E! a\\Q.*\\Eb\"", "Hello world! a\\.\\*b"),
        ("'it\\'s \\n \\\\'", "it's \\n \\"),
        ("q{a{b}c} . q|a\\|b|", "a{b}ca|b"),
        ("\"\\x41\\x{42}\\103\\$\\@\"", "ABC$@"),
    ]);
}

#[test]
fn here_documents_start_on_the_next_line() {
    check(&[
        ("my $x = 1; <<EOT . 'end'\nline $x\nEOT\n", "line 1\nend"),
        ("our ($a, $b); my ($c, @d); 'declared'", "declared"),
        ("<<'EOT'\nraw $x\nEOT\n", "raw $x\n"),
        ("<< 'EOT' . 'end'\nraw $x\nEOT\n", "raw $x\nend"),
        ("my $y = 2; <<~ \t\"A B\"\n  y$y\n  A B\n", "y2\n"),
        ("<<\\EOT . 'end'\nraw $x\nEOT\n", "raw $x\nend"),
        ("<<\"A\" . <<B\na\nA\nb\nB\n", "a\nb\n"),
        ("<<~EOT\n    one\n      two\n    EOT\n", "one\n  two\n"),
    ]);
}

#[test]
fn lists_maps_and_sorts() {
    assert_eq!(shown("[map { $_ * 2 } 1..3]"), "[2, 4, 6]");
    assert_eq!(shown("[map { { n => $_ } } 1..2]"), "[{\"n\": 1}, {\"n\": 2}]");
    assert_eq!(shown("[sort { $b <=> $a } 3, 10, 2]"), "[10, 3, 2]");
    assert_eq!(shown("[('a','b') x 2]"), "[\"a\", \"b\", \"a\", \"b\"]");
    assert_eq!(shown("[split /,/, 'a,b,,c,,']"), "[\"a\", \"b\", \"\", \"c\"]");
    assert_eq!(shown("[split //, 'abc']"), "[\"a\", \"b\", \"c\"]");
    assert_eq!(shown("[split /(,)/, 'a,b']"), "[\"a\", \",\", \"b\"]");
    check(&[
        ("my $count = () = 'aaa' =~ /a/g; $count", "3"),
        ("my ($first, @rest) = (1,2,3); \"$first|@rest\"", "1|2 3"),
        ("CORE::join(\"\\n\", map { \"Foo$_: bar\" } 1..2)", "Foo1: bar\nFoo2: bar"),
        ("my @l = (1,2,3); $_ *= 2 for @l; \"@l\"", "2 4 6"),
    ]);
}

#[test]
fn patterns_keep_source_and_flags() {
    check(&[
        ("qr/a.b/s", "(?^s:a.b)"),
        ("qr/foo\\/bar/", "(?^:foo/bar)"),
        ("qr{a\\}b}", "(?^:a\\}b)"),
        ("my $p = qr/a|b/i; qr/x${p}y/", "(?^:x(?^i:a|b)y)"),
        ("qr/[^@]+\\@x$/", "(?^:[^@]+\\@x$)"),
        ("my $x='q'; qr/\\Q$x.\\E./", "(?^:q\\..)"),
    ]);
}

#[test]
fn matching_and_substitution() {
    check(&[
        ("my $s = 'a1b22'; $s =~ s/(\\d+)/$1*2/ge; $s", "a2b44"),
        ("'foobar' =~ /o(b)/ ? \"$`|$&|$'|$1\" : 'no'", "fo|ob|ar|b"),
        ("'abc' =~ /(?<name>b)/; $+{name}", "b"),
        ("my $t = 'hello'; (my $u = $t) =~ tr/a-y/b-z/; $u", "ifmmp"),
        ("my $x = 'aaa'; my $c = 0; $c++ while $x =~ /a/g; $c", "3"),
        ("'hello' =~ s/l/L/r", "heLlo"),
    ]);
}

#[test]
fn subs_close_over_variables() {
    check(&[
        ("my $n = 0; my $inc = sub { ++$n }; $inc->(); $inc->(); $n", "2"),
        ("my $f; $f = sub { my $n = shift; $n <= 1 ? 1 : $n * $f->($n-1) }; $f->(5)", "120"),
        ("sub twice { 2 * shift } twice(4)", "8"),
        ("my @f = map { my $n = $_; sub { $n } } 1..2; $f[0]->() . $f[1]->()", "12"),
        (
            "my $h = {a => 1}; my $r = \\($h->{a}); $$r = 2; my @a = (1); my $e = \\$a[0]; $$e = 3; \"$h->{a}$a[0]\"",
            "23",
        ),
        ("my $x = 1; my $y = do { my $x = 2; $x }; \"$x$y\"", "12"),
    ]);
}

#[test]
fn walks_remember_where_they_stand() {
    check(&[
        ("my %h = (a => 1); my $s = ''; while (my ($k, $v) = each %h) { $s .= \"$k=$v;\" } $s", "a=1;"),
        ("my %h = (a => 1, b => 2); my $n = 0; each %h; keys %h; $n++ while each %h; $n", "2"),
        ("my @a = qw(x y); my $s = ''; while (my ($i, $v) = each @a) { $s .= \"$i$v\" } $s", "0x1y"),
        ("my $r = {a => 1}; my $s = ''; while (my $k = each %$r) { $s .= $k } $s", "a"),
    ]);
}

#[test]
fn positions_belong_to_variables() {
    check(&[
        ("my $x = 'aXbX'; $x =~ /X/g; my $p = pos $x; $x =~ /X/g; \"$p\" . pos($x)", "24"),
        ("my $x = 'abc'; $x =~ /b/g; $x = 'abcb'; $x =~ /b/g; pos($x)", "2"),
        ("my $x = 'abc'; pos($x) = 1; $x =~ /\\G(.)/g; $1", "b"),
        ("my $x = 'ab'; $x =~ /a/g; $x =~ /z/g; defined pos($x) ? 1 : 0", "0"),
        ("my $x = 'ab'; $x =~ /a/g; $x =~ /z/gc; pos($x)", "1"),
        ("my $s = 'a=1,b=2'; my $o = ''; while ($s =~ /(\\w)=(\\d),?/g) { $o .= \"$2$1\" } $o", "1a2b"),
        ("my @a = ('xyx'); my $n = 0; $n++ while $a[0] =~ /x/g; $n", "2"),
        ("my $s = 'abc'; my $n = 0; while ($s =~ /x*/g) { $n++ } $n", "4"),
        ("for ('a1 b2') { /(\\w)/g; last } my $t = 'q'; $t =~ /(\\w)/g; $1", "q"),
        (
            "my $s = q(a 'b c'); my @w; while (1) { if ($s =~ /\\G\\s*'([^']*)'/gc) { push @w, \"<$1>\" } \
             elsif ($s =~ /\\G\\s*(\\S+)/gc) { push @w, $1 } else { last } } join '|', @w",
            "a|<b c>",
        ),
    ]);
}

#[test]
fn state_variables_outlive_their_call() {
    check(&[
        ("use feature 'state'; sub n { state $n = 5; return $n++ } n(); n(); n()", "7"),
        ("use feature 'state'; my $s = ''; for (1..3) { state $c = 10; $s .= $c++ } $s", "101112"),
        (
            "use feature 'state'; my @f = map { sub { state $x = 0; ++$x } } 1..2; $f[0]->(); $f[0]->(); $f[0]->() . $f[1]->()",
            "31",
        ),
        ("use feature 'state'; sub l { state @l; push @l, shift; \"@l\" } l(1); l(2)", "1 2"),
    ]);
}

#[test]
fn signatures_name_arguments() {
    check(&[
        ("use feature 'signatures'; sub f($x, $y = $x * 2) { \"$x,$y\" } f(1) . ';' . f(1, 5)", "1,2;1,5"),
        ("use feature 'signatures'; my $f = sub ($first, @rest) { \"$first:@rest\" }; $f->(1, 2, 3)", "1:2 3"),
        ("use feature 'signatures'; sub h($n, %o) { $n . $o{a} } h('x', a => 'y')", "xy"),
        ("use feature 'signatures'; sub p($, $y) { $y } p(1, 2)", "2"),
        ("use feature 'signatures'; sub z() { 'none' } z()", "none"),
    ]);
    for (code, message) in [
        ("f(1)", "Too few arguments for subroutine 'Test::Base::Filter::f' (got 1; expected 2)"),
        ("f(1, 2, 3)", "Too many arguments for subroutine 'Test::Base::Filter::f' (got 3; expected 2)"),
        ("g()", "Too few arguments for subroutine 'Test::Base::Filter::g' (got 0; expected at least 1)"),
        ("g(1, 2, 3)", "Too many arguments for subroutine 'Test::Base::Filter::g' (got 3; expected at most 2)"),
    ] {
        let code = format!("sub f($x, $y) {{ 1 }} sub g($x, $y = 1) {{ 1 }} {code}");
        assert!(shown(&code).starts_with(&format!("died: {message} at ")), "{}", shown(&code));
    }
}

#[test]
fn arguments_are_aliases() {
    check(&[
        ("sub inc { $_[0]++ } my $x = 1; inc($x); $x", "2"),
        ("sub trim { s/^\\s+// for @_ } my ($x, $y) = (' a', ' b'); trim($x, $y); \"$x$y\"", "ab"),
        ("sub set { $_[1] = 'z' } my @a = (1, 2); set(@a); \"@a\"", "1 z"),
        ("sub key { $_[0] = 'v' } my %h = (k => 1); key($h{k}); $h{k}", "v"),
        ("sub tail { shift; $_[0] .= '!' } my ($x, $y) = ('a', 'b'); tail($x, $y); \"$x$y\"", "ab!"),
        ("sub own { my ($v) = @_; $v = 9 } my $x = 1; own($x); $x", "1"),
    ]);
}

#[test]
fn places_that_are_no_variables() {
    check(&[
        ("my @a = (1, 2, 3); $#a = 0; \"@a\"", "1"),
        ("my @a = (1); $#a = 2; scalar @a", "3"),
        ("my @a = (1, 2); $#a = -1; scalar @a", "0"),
        ("my $x; $x |= '127.0.0.1'; $x", "127.0.0.1"),
        ("'ab' | undef", "ab"),
        ("my $x = <<EOT;\r\na\r\n b\r\nEOT\r\n$x =~ s/\n/-/gr", "a- b-"),
        ("my %h; $h{1, 2} = 3; join '|', map { join ',', split /\\x1c/ } keys %h", "1,2"),
        ("ref(\\\\1) . ref(\\[]) . ref(\\1)", "REFREFSCALAR"),
        ("0o17", "15"),
        ("pack('n/a*', 'hello') eq \"\\0\\5hello\" ? 1 : 0", "1"),
    ]);
}

#[test]
fn eval_catches_what_dies() {
    check(&[
        ("eval { die \"oops\\n\" }; \"caught: $@\"", "caught: oops\n"),
        ("my $r = eval { 42 }; \"$r [$@]\"", "42 []"),
        ("eval { die { code => 5 } }; $@->{code}", "5"),
        ("my $x = 10; eval '$x + 1'", "11"),
        ("eval '1 +'; $@ ? 'err' : 'ok'", "err"),
    ]);
}

#[test]
fn errors_read_as_perls() {
    for (code, message) in [
        ("mmm\n", "Bareword \"mmm\" not allowed while \"strict subs\" in use at (eval 1) line 1.\n"),
        ("qr/abc/\n[error]\n[alert]\n", "syntax error at (eval 1) line 2, near \"qr/abc/\n[\"\n"),
        (
            "$x",
            "Global symbol \"$x\" requires explicit package name (did you forget to declare \"my $x\"?) at (eval 1) line 1.\n",
        ),
        ("qr/abc", "Search pattern not terminated at (eval 1) line 1.\n"),
        ("\"abc", "Can't find string terminator '\"' anywhere before EOF at (eval 1) line 1.\n"),
        ("die 'x'", "x at (eval 1) line 1.\n"),
        ("1/0", "Illegal division by zero at (eval 1) line 1.\n"),
    ] {
        assert_eq!(shown(code), format!("died: {message}"), "{code}");
    }
    assert_eq!(value("time: 1"), "1");
}

#[test]
fn an_empty_text_has_no_value() {
    assert_eq!(shown(""), "");
    assert_eq!(shown("# comment\n"), "");
}

#[test]
fn bounds_end_what_would_not_end() {
    for code in [
        "while (1) { 1 }",
        "my $x = 'a'; $x .= $x while 1",
        "'a' x 1_000_000_000",
        "[(1) x 1_000_000_000]",
        "[1..1_000_000_000]",
        "my $f; $f = sub { $f->() }; $f->()",
        "my @a; $a[1_000_000_000] = 1",
        "my @a; push @a, 'a' x 1_000_000 while 1",
    ] {
        assert!(run(code).is_err(), "{code}: {}", shown(code).chars().take(200).collect::<String>());
    }
    assert!(run(&"(".repeat(10_000)).is_err());
    assert!(run(&"{".repeat(10_000)).is_err());
    assert!(run(&format!("my $x = {}1", "!".repeat(10_000))).is_err());
}

#[test]
fn default_bounds_fit_a_stack_of_eight_mebibytes() {
    let deep = || {
        for code in [
            "my $f; $f = sub { my $x = join(',', map { $f->($_) } 1..2); $x }; $f->()".to_owned(),
            "(".repeat(10_000),
            "[{a=>".repeat(10_000),
            "if(1){".repeat(10_000),
            format!("{}1{}", "do { eval { ".repeat(90), " } }".repeat(90)),
        ] {
            let mut interpreter = Interpreter::new(Box::new(Nowhere), Limits::default());
            let _ = interpreter.eval_apart(code.as_bytes(), "main", Want::List);
        }
    };
    std::thread::Builder::new().stack_size(8 << 20).spawn(deep).unwrap().join().unwrap();
}

#[test]
fn what_reaches_outside_asks_the_host() {
    for code in [
        "open my $f, '>', '/tmp/rsty-never'; 1",
        "open my $f, '>>', '/tmp/rsty-never'; 1",
        "unlink '/tmp/rsty-never'",
        "mkdir '/tmp/rsty-never'",
        "rename '/tmp/rsty-never', '/tmp/rsty-never-2'",
        "chmod 0777, '/tmp/rsty-never'",
        "`true`",
        "system 'true'",
        "open my $f, '-|', 'true'",
    ] {
        let shown = shown(code);
        assert!(shown.contains("refused") || shown.contains("no shell here"), "{code}: {shown}");
    }
    assert!(shown("require Some::Module").starts_with("died: Can't locate Some/Module.pm"));
}

#[test]
fn a_pattern_that_would_take_for_ever_ends() {
    let start = std::time::Instant::now();
    let _ = run("('a' x 60) =~ /^(a+)+$b/; ('x' x 5000) =~ /(x+x+)+y/");
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn unsupported_perl_is_refused_with_its_name() {
    assert!(shown("format STDOUT =\n.\n").starts_with("refused: "));
    assert!(shown("use feature 'state'; state ($x, $y)").contains("`state`"));
}

#[test]
fn symbols_get_new_meanings() {
    for (code, expected) in [
        ("no strict 'refs'; my $c = 'Foo::Baz'; *{\"${c}::hi\"} = sub { \"hi $_[1]\" }; $c->hi(4)", "\"hi 4\""),
        ("sub one { 1 } { no warnings; local *one = sub { 2 }; } one()", "1"),
        ("our @list = (1, 2); *other = \\@list; our @other; \"@other\"", "\"1 2\""),
        ("local $SIG{__WARN__} = sub { $main::W = shift }; warn \"careful\\n\"; $main::W", "\"careful\\n\""),
    ] {
        assert_eq!(shown(code), expected, "{code}");
    }
}

#[test]
fn small_spellings() {
    for (code, expected) in [
        ("my $s = << \"Q\"; $s\nspaced\nQ\n", "\"spaced\\n\""),
        ("join ',', sort keys %{{ b => 1, a => 1 }}", "\"a,b\""),
        ("my $s = 'k: v'; $s =~ /(?<key>\\w+)/; \"<$+{key}>\"", "\"<k>\""),
        ("my $s = (1 == 1) x 3; $s", "\"111\""),
        ("use 5.010_001; 1", "1"),
        ("my $f; open $f, '<', \\ 'abcdef'; read $f, my $part, 4; $part . $f->getline", "\"abcdef\""),
    ] {
        assert_eq!(shown(code), expected, "{code}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_text_ends_without_panic(text in "[ -~\\n]{0,40}") {
        let _ = run(&text);
    }

    #[test]
    fn any_near_perl_ends_without_panic(parts in proptest::collection::vec(
        prop_oneof![
            Just("my $x = "), Just("$x"), Just("@a"), Just("qr/"), Just("/"), Just("{"), Just("}"), Just("["), Just("]"),
            Just("<<EOT\n"), Just("EOT\n"), Just("\""), Just("$"), Just(" + "), Just("s{a}{b}e"), Just("sub "), Just("if ("),
            Just(")"), Just(";"), Just("->"), Just("map "), Just("\n"), Just("1"), Just("'"), Just("@{"), Just("${"), Just("\\"),
            Just("y/a/b/"), Just("=>"), Just("for "), Just("print "), Just("local "), Just("do "), Just("eval "),
        ], 0..20))
    {
        let _ = run(&parts.concat());
    }
}
