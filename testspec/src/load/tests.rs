//! Loading small spec files.

use rsty_diag::Source;

use super::*;
use crate::model::{Flavour, Plan};

fn loaded(text: &str) -> SpecFile {
    let mut environment = Environment::new("/nonexistent");
    environment.nginx_version =
        VersionText::new(|| b"nginx version: nginx/1.31.2\nconfigure arguments: --with-pcre\n".to_vec());
    load(&Source::new("t/x.t", text), environment).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn problems(text: &str) -> Vec<String> {
    match load(&Source::new("t/x.t", text), Environment::new("/nonexistent")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

fn section(spec: &SpecFile, block: usize, name: &str) -> String {
    spec.blocks()[block].value(name).map_or("undef".to_owned(), |value| format!("{value:?}"))
}

const PROLOGUE: &str =
    "use Test::Nginx::Socket::Lua;\nplan tests => repeat_each() * 2 * blocks();\nrun_tests();\n__DATA__\n";

#[test]
fn plan_and_settings_come_from_the_prologue() {
    let spec = loaded(
        "use Test::Nginx::Socket::Lua::Stream;\nrepeat_each(2);\nmaster_on; workers(3); no_root_location();\nlog_level 'warn';\n\
         env_to_nginx('A=b', 'C');\nno_shuffle();\nour $X = html_dir;\nplan tests => repeat_each() * (blocks() * 3 + 1);\n\
         run_tests();\n__DATA__\n=== a\n--- x eval: $::X\n=== b\n--- SKIP\n",
    );
    assert_eq!(spec.plan(), Plan::Tests(8));
    let settings = spec.settings();
    assert_eq!((settings.repeat_each, settings.flavour), (2, Flavour::Stream));
    assert_eq!((settings.master_process, settings.workers.as_slice()), (Some(true), b"3".as_slice()));
    assert_eq!(
        (settings.root_location, settings.shuffle, settings.log_level.as_slice()),
        (false, false, b"warn".as_slice())
    );
    assert_eq!(settings.env_to_nginx, [b"A=b".to_vec(), b"C".to_vec()]);
    assert_eq!(section(&spec, 0, "x"), "\"/nonexistent/t/servroot/html\"");
}

#[test]
fn a_block_runs_ten_thousand_times_at_most() {
    for (said, wanted) in [("3", 3), ("10_001", 10_000), ("4_000_000_000", 10_000), ("1e15", 10_000), ("-1", 1)] {
        let text = format!("use Test::Nginx::Socket;\nrepeat_each({said});\nrun_tests();\n__DATA__\n=== a\n--- x\n");
        assert_eq!(loaded(&text).settings().repeat_each, wanted, "{said}");
    }
}

#[test]
fn functions_of_the_prologue_set_what_the_runner_reads() {
    let spec = loaded(
        "use Test::Nginx::Socket::Lua;\nmaster_on();\nmaster_off();\nno_nginx_manager();\ncheck_accum_error_log();\n\
         config_preamble('set $x 1;');\nserver_name('a.test');\nserver_addr('127.0.0.9');\nserver_port_for_client(77);\n\
         add_response_body_check(sub { });\nadd_test_cleanup_handler(sub { die 'called' });\nis_str('abc', qr/b/, 'like');\n\
         is_str('abc', 'b', 'unlike');\nrun_tests();\n__DATA__\n=== a\n",
    );
    let settings = spec.settings();
    assert_eq!((settings.master_process, settings.nginx_manager), (Some(false), false));
    assert!(settings.check_accum_error_log);
    assert_eq!(settings.config_preamble, b"set $x 1;");
    assert_eq!(
        (settings.server_name.as_slice(), settings.server_addr.as_slice()),
        (b"a.test".as_slice(), b"127.0.0.9".as_slice())
    );
    assert_eq!((settings.server_port, settings.server_port_for_client), (1984, 77));
    assert_eq!(spec.response_body_checks().len(), 1);
    let handler = &spec.test_cleanup_handlers()[0];
    assert!(spec.call(handler, Vec::new()).unwrap_err().to_string().starts_with("called"));
    let passed: Vec<bool> = spec.take_assertions().iter().map(|assertion| assertion.passed).collect();
    assert_eq!(passed, [true, false]);
    let spec = loaded("use Test::Nginx::Socket;\nmaster_process_enabled(1);\nrun_tests();\n__DATA__\n=== a\n");
    assert_eq!(spec.settings().master_process, Some(true));
}

#[test]
fn functions_of_the_prologue_tell_of_the_run() {
    for (code, expected) in [
        ("get_canon_version(1, 2, 3)", "1.002003"),
        ("get_nginx_version()", "1.031002"),
        ("is_running('nginx')", "0"),
        ("is_tcp_port_used(0) . is_udp_port_used(0)", ""),
        ("parse_time('300ms') . '|' . parse_time('2s') . '|' . parse_time(4)", "0.3|2|4"),
        ("server_root()", "/nonexistent/t/servroot"),
        ("sleep_time()", "0.015"),
        ("verbose() ? 1 : 0", "0"),
        ("trim(\"  a b \\n\")", "a b"),
    ] {
        let text = format!(
            "use Test::Nginx::Socket 'no_plan';\nuse Test::Nginx::Util;\nour $X = {code};\nrun_tests();\n__DATA__\n=== a\n--- x eval: $::X\n"
        );
        let value = loaded(&text).blocks()[0].value("x").map(|value| value.to_text());
        assert_eq!(value.as_deref(), Some(expected), "{code}");
    }
    let text = "use Test::Nginx::Socket;\nbail_out('no way');\nrun_tests();\n__DATA__\n=== a\n";
    assert!(problems(text).iter().any(|problem| problem.contains("no way")), "{:?}", problems(text));
}

#[test]
fn modules_of_the_harness_are_there_without_a_use() {
    let spec = loaded(
        "use Test::Nginx::Socket::Lua;\nour $Dir = File::Spec->catdir('/a', '..', 'certs');\nrun_tests();\n__DATA__\n\
         === a\n--- x eval: $::Dir\n",
    );
    assert_eq!(section(&spec, 0, "x"), "\"/a/../certs\"");
}

#[test]
fn a_file_finds_what_lies_beside_it() {
    let spec = loaded(
        "use FindBin qw($Script);\nuse lib \"$FindBin::Bin/lib\";\nuse Test::Nginx::Socket;\nrun_tests();\n__DATA__\n\
         === a\n--- x eval: \"$FindBin::Bin $::Script\"\n",
    );
    assert_eq!(section(&spec, 0, "x"), "\"/nonexistent/t x.t\"");
}

#[test]
fn skip_all_has_no_blocks() {
    for prologue in ["use Test::Nginx::Socket skip_all => 'why';", "use Test::Nginx::Socket;\nplan(skip_all => 'why');"]
    {
        let spec = loaded(&format!("{prologue}\nrun_tests();\n__DATA__\n=== a\n--- x\n"));
        assert_eq!(spec.plan(), Plan::SkipAll(b"why".to_vec()));
        assert!(spec.blocks().is_empty());
    }
}

#[test]
fn a_begin_block_may_switch_the_mode() {
    let begin = "BEGIN { $ENV{TEST_NGINX_USE_HUP} = 1 }\n";
    assert!(loaded(&format!("{begin}{PROLOGUE}=== a\n--- config\n")).settings().use_hup);
    assert!(!loaded(&format!("{PROLOGUE}=== a\n--- config\n")).settings().use_hup);
}

#[test]
fn begin_shares_variables_with_the_file() {
    let spec = loaded(
        "our $Skip;\nmy $n;\nBEGIN { $Skip = 'no'; $n = 3 }\nuse Test::Nginx::Socket $Skip ? (tests => $n) : ();\n\
         run_tests();\n__DATA__\n=== a\n--- x\n",
    );
    assert_eq!(spec.plan(), Plan::Tests(3));
}

#[test]
fn filters_run_in_the_order_of_the_header() {
    let spec = loaded(&format!(
        "{PROLOGUE}=== a\n--- a\n\n  x\n\n--- b chomp\ny\n--- c eval\n\"z\" x 3\n--- d eval\n--- e eval\n1,2\n--- f eval\nmmm\n--- g -trim\nx\n\n\n--- h eval: [qr/a/s]\n"
    ));
    let value = |name| section(&spec, 0, name);
    assert_eq!(value("a"), "\"  x\\n\"");
    assert_eq!(value("b"), "\"y\"");
    assert_eq!(value("c"), "\"zzz\"");
    assert_eq!(value("d"), "undef");
    assert_eq!(value("e"), "1");
    assert_eq!(
        value("f"),
        "\"Bareword \\\"mmm\\\" not allowed while \\\"strict subs\\\" in use at (eval 4) line 1, <DATA> line 1.\\n\""
    );
    assert_eq!(value("g"), "\"x\\n\\n\\n\"");
    assert_eq!(value("h"), "[qr(?^s:a)]");
}

#[test]
fn values_are_made_once_in_order_and_see_only_package_variables() {
    let spec = loaded(
        "use Test::Nginx::Socket;\nmy $hidden = 1;\nrun_tests();\n__DATA__\n=== a\n--- a eval: $::N = 7\n\
         --- b eval: $::N++\n--- c eval: $::N\n=== b\n--- a eval: $::N\n--- b eval: $hidden\n",
    );
    assert_eq!(section(&spec, 0, "b"), "7");
    assert_eq!([section(&spec, 0, "c"), section(&spec, 1, "a"), section(&spec, 1, "a")], ["8", "8", "8"]);
    assert!(section(&spec, 1, "b").contains("Global symbol"));
}

#[test]
fn the_last_of_two_sections_counts() {
    let spec = loaded(&format!("{PROLOGUE}=== a\n--- x: 1\n--- y\n--- x: 2\n"));
    assert_eq!(section(&spec, 0, "x"), "\"2\"");
    assert_eq!(spec.blocks()[0].sections().len(), 2);
}

#[test]
fn preprocessors_run_last_registered_first_and_once() {
    let spec = loaded(
        "use Test::Nginx::Socket;\nmy $n = 0;\n\
         add_block_preprocessor(sub { my $b = shift; $b->set_value('x', ($b->x // '') . 'first'); });\n\
         add_block_preprocessor(sub { my ($block) = @_; $n++; $block->set_value(\"x\", \"last$n,\"); });\n\
         run_tests();\n__DATA__\n=== a\n--- y\n=== b\n--- y\n",
    );
    for block in spec.blocks() {
        spec.preprocess(block).unwrap();
        spec.preprocess(block).unwrap();
    }
    assert_eq!(section(&spec, 0, "x"), "\"last1,first\"");
    assert_eq!(section(&spec, 1, "x"), "\"last2,first\"");
}

#[test]
fn stream_sections_become_ordinary_ones() {
    let spec = loaded(
        "use Test::Nginx::Socket::Lua::Stream;\nrun_tests();\n__DATA__\n=== a\n--- stream_server_config\nreturn hi;\n--- stream_response: hi\n",
    );
    let block = &spec.blocks()[0];
    spec.preprocess(block).unwrap();
    let text = |name: &str| block.value(name).unwrap().to_text();
    assert_eq!(text("main_config"), "stream {\n\n    server {\n        listen 1985 ;\n\nreturn hi;\n\n    }\n}\n");
    assert_eq!(text("config").lines().count(), 22);
    assert_eq!(text("request"), "GET /t\n");
    assert_eq!(text("response_body"), "hi");
}

#[test]
fn versions_are_known_to_filters_only_after_run_tests_is_called() {
    let spec = loaded(
        "use Test::Nginx::Socket;\nour $V = `nginx -V 2>&1`;\nrun_tests();\n__DATA__\n=== a\n--- x eval: $Test::Nginx::Util::PcreVersion\n--- y eval: $Test::Nginx::Util::NginxVersion\n--- z eval: $::V =~ /1.31/ ? 1 : 0\n",
    );
    assert_eq!(section(&spec, 0, "x"), "2");
    assert_eq!(section(&spec, 0, "y"), "\"1.031002\"");
    assert_eq!(section(&spec, 0, "z"), "1");
}

#[test]
fn a_file_without_prologue_has_settings_and_defaults() {
    let spec = loaded(
        "--- repeat_each: 3\n--- no_error_log\n[error]\n--- timeout: 5\n\n=== a\n--- config\nx\n=== b\n--- timeout: 1\n",
    );
    assert_eq!(spec.settings().repeat_each, 3);
    assert_eq!(section(&spec, 0, "timeout"), "\"5\"");
    assert_eq!(section(&spec, 0, "no_error_log"), "\"[error]\\n\"");
    assert_eq!(section(&spec, 1, "timeout"), "\"1\"");
    let problems = problems("--- repeat_eech: 3\n=== a\n--- config\n");
    assert_eq!(problems, ["t/x.t:1:5: error: unknown setting or section `repeat_eech`"]);
}

#[test]
fn a_failing_prologue_is_a_diagnostic_with_its_line() {
    assert_eq!(
        problems("use Test::Nginx::Socket;\nno_such();\nrun_tests();\n__DATA__\n"),
        ["t/x.t:2:1: error: Undefined subroutine &main::no_such called at t/x.t line 2."]
    );
    assert!(problems("use Test::Nginx::Socket;\nformat X =\n.\n__DATA__\n")[0].starts_with("t/x.t:2:"));
    assert!(problems("use No::Such;\n__DATA__\n")[0].contains("Can't locate No/Such.pm"));
}

#[test]
fn a_block_outside_the_subset_fails_alone() {
    let spec = loaded(&format!("{PROLOGUE}=== a\n--- x eval\nwhile (1) {{}}\n=== b\n--- x eval: 1\n"));
    assert!(spec.preprocess(&spec.blocks()[0]).is_err());
}

#[test]
fn shell_can_be_refused() {
    let mut environment = Environment::new("/nonexistent");
    environment.shell = Shell::Refused;
    let text = "use Test::Nginx::Socket;\nour $pwd = `pwd`;\nrun_tests();\n__DATA__\n=== a\n--- x eval: $::pwd\n";
    let spec = load(&Source::new("x.t", text), environment.clone()).unwrap();
    assert_eq!(section(&spec, 0, "x"), "\"/nonexistent\\n\"");
    let problems = load(&Source::new("x.t", "my $x = `id`;\n__DATA__\n"), environment).unwrap_err();
    assert!(problems[0].to_string().contains("shell commands are refused"), "{problems:?}");
}

#[test]
fn callbacks_are_handed_to_the_runner() {
    let spec = loaded(
        "use Test::Nginx::Socket;\nadd_response_body_check(sub { my ($block, $body) = @_; is($body, 'x', 'body ' . $block->name); });\n\
         add_cleanup_handler(sub { warn \"bye\\n\" });\nrun_tests();\nwarn \"after\\n\";\n__DATA__\n=== a\n--- tcp_reply eval: sub { my $q = shift; \"<$q>\" }\n",
    );
    let block = &spec.blocks()[0];
    let Some(Value::Code(code)) = block.value("tcp_reply") else { panic!("no code") };
    assert_eq!(spec.call(&code, vec![Value::from("q")]).unwrap()[0].to_text(), "<q>");
    spec.call(&spec.response_body_checks()[0], vec![Value::Block(block.clone()), Value::from("y")]).unwrap();
    let assertions = spec.take_assertions();
    assert_eq!((assertions[0].passed, assertions[0].name.as_slice()), (false, b"body a".as_slice()));
    spec.finish().unwrap();
    let warnings: Vec<String> = spec.take_warnings().iter().map(|warning| warning.message.clone()).collect();
    assert_eq!(warnings, ["bye", "after"]);
    assert_eq!(spec.eval(Package::Socket, b"$ENV{NOPE} ? 1 : 2").unwrap().to_text(), "2");
    assert_eq!(spec.eval(Package::Util, b"$NginxBinary").unwrap().to_text(), "nginx");
    let error = spec.eval(Package::Socket, b"$NginxBinary").unwrap_err().to_string();
    assert!(error.starts_with("Global symbol \"$NginxBinary\" requires explicit package name"), "{error}");
}

#[test]
fn a_file_may_run_its_blocks_itself() {
    for prologue in [
        "use Test::Base;\nplan tests => 2;\nrun { my $block = shift; is $block->in x 2, $block->out, $block->name; };\n",
        "use Test::Base;\nplan tests => 2;\nfor my $block (blocks()) { is $block->in x 2, $block->out, $block->name }\n",
    ] {
        let spec = loaded(&format!(
            "{prologue}diag('behind');\n__DATA__\n=== a\n--- in chomp\nx\n--- out chomp\nxx\n=== b\n--- in: y\n--- out: z\n"
        ));
        assert_eq!(spec.settings().flavour, Flavour::Plain);
        let blocks = spec.blocks().to_vec();
        let verdicts: Vec<(bool, String)> = [1, 0, 1]
            .into_iter()
            .flat_map(|index| {
                spec.run_plain(&blocks[index]).unwrap();
                spec.take_assertions()
            })
            .map(|assertion| (assertion.passed, String::from_utf8(assertion.name).unwrap()))
            .collect();
        assert_eq!(verdicts, [(false, "b".to_owned()), (true, "a".to_owned()), (false, "b".to_owned())]);
        assert!(spec.take_warnings().is_empty());
        spec.finish().unwrap();
        let said: Vec<String> = spec.take_warnings().iter().map(|warning| warning.message.clone()).collect();
        assert_eq!(said, ["# behind"]);
    }
}

#[test]
fn a_file_may_filter_its_http_configuration() {
    let filter =
        "Test::Nginx::Socket::set_http_config_filter(sub { my $c = shift; die 'no' if $c eq 'bad'; \"<$c>\" });\n";
    let spec = loaded(&format!("use Test::Nginx::Socket::Lua;\n{filter}run_tests();\n__DATA__\n=== a\n"));
    assert_eq!(spec.filter_http_config(b"x".to_vec()).unwrap(), b"<x>");
    assert!(spec.filter_http_config(b"bad".to_vec()).unwrap_err().to_string().starts_with("no"));
}

#[test]
fn a_file_may_keep_the_list_of_its_blocks() {
    let spec = loaded(
        "use Test::Base;\nplan tests => 3;\nmy @all = blocks();\nmy $at = 0;\n\
         is $all[$at]->in, 'x', $all[$at++]->name;\nis $all[$at]->in, 'x', $all[$at++]->name;\nok 1, 'nobody';\n\
         __DATA__\n=== one\n--- in: x\n=== one more\n--- in: y\n",
    );
    let blocks = spec.blocks().to_vec();
    let verdicts = |index: usize| -> Vec<bool> {
        spec.run_plain(&blocks[index]).unwrap();
        spec.take_assertions().iter().map(|assertion| assertion.passed).collect()
    };
    assert_eq!(verdicts(1), [false]);
    assert_eq!(verdicts(0), [true, true]);
    spec.finish().unwrap();
    assert!(spec.take_assertions().is_empty());
}

#[test]
fn the_inner_functions_of_the_harness_can_be_called() {
    let spec = loaded(
        "use Test::Nginx::Socket tests => 5;\nfor my $block (blocks) {\n\
         my $requests = Test::Nginx::Socket::get_req_from_block($block);\n\
         is_deeply($requests, [[{value => \"GET /a HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n\"}]]);\n\
         my ($res, $head, $left) = Test::Nginx::Socket::parse_response('x', \"HTTP/1.1 201 Made\\r\\nA-B: c\\r\\nContent-Length: 2\\r\\n\\r\\nhi!\", 0);\n\
         is join('|', $res->code, $res->header('a-b'), $res->content, $left), '201|c|hi|!';\n\
         Test::Nginx::Socket::transform_response_body($block, $res, 0);\n\
         Test::Nginx::Socket::check_response_body($block, $res, undef, 0, 0, 0);\n\
         Test::Nginx::Socket::check_response_body($block, $res, 'a reason', 0, 0, 0);\n\
         my @none = Test::Nginx::Socket::parse_response('bad', \"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\nx\", 0);\n}\n\
         __DATA__\n=== one\n--- request\nGET /a\n--- response_body_filters eval\nsub { 'X' . uc(shift) }\n--- response_body chomp\nXHI\n",
    );
    let blocks = spec.blocks().to_vec();
    spec.run_plain(&blocks[0]).unwrap();
    let made = spec.take_assertions();
    let verdicts: Vec<(bool, bool)> = made.iter().map(|made| (made.passed, made.diagnostics == b"skip")).collect();
    assert_eq!(verdicts, [(true, false), (true, false), (true, false), (true, true), (false, false)], "{made:?}");
}

#[test]
fn commands_fill_variables() {
    let mut environment = Environment::new("/");
    environment.variables.insert("PATH".to_owned(), b"/usr/bin:/bin".to_vec());
    let text = "use Test::Nginx::Socket;\nuse IPC::Run3;\nuse File::Temp qw( tempfile );\n\
        my ($fh, $name) = tempfile('xXXXX', SUFFIX => '.sh');\nprint $fh (\"echo 'a b'; echo oops >&2; exit 3\\n\");\nclose $fh;\n\
        run3 ['sh', $name], undef, \\my $out, \\my $err;\nour $Result = join '|', $out, $err, $? >> 8;\n\
        run_tests();\n__DATA__\n=== a\n--- x eval: $::Result\n";
    let spec = load(&Source::new("t/x.t", text), environment).unwrap();
    assert_eq!(section(&spec, 0, "x"), "\"a b\\n|oops\\n|3\"");
    spec.finish().unwrap();
}

#[test]
fn a_prologue_may_use_the_common_modules() {
    for (code, expected) in [
        (
            "use FindBin; use lib \"$FindBin::Bin/..\"; our $X = \"$FindBin::Bin $FindBin::Script\";",
            "/nonexistent/t x.t",
        ),
        ("use List::Util qw(first reduce any); our $X = first { $_ > 1 } 1, 2, 3;", "2"),
        ("use List::Util qw(reduce); our $X = reduce { $a * $b } 1 .. 5;", "120"),
        ("use List::Util qw(any all); our $X = (any { $_ == 2 } 1, 2) . (all { $_ } 1, 0);", "1"),
        (
            "use Data::Dumper; $Data::Dumper::Terse = 1; $Data::Dumper::Indent = 0; our $X = Dumper([1, {a => 'b'}]);",
            "[1,{'a' => 'b'}]",
        ),
        (
            "use JSON::PP; our $X = encode_json({b => [1, 'x'], a => undef}) . decode_json('{\"k\":[7]}')->{k}[0];",
            "{\"a\":null,\"b\":[1,\"x\"]}7",
        ),
        ("use Digest::SHA qw(hmac_sha256_hex); our $X = substr(hmac_sha256_hex('a', 'k'), 0, 8);", "78da9151"),
        ("use File::Basename; our $X = join '|', fileparse('/a/b.t', qr/\\.[^.]*/);", "b|/a/|.t"),
        ("use File::Spec; our $X = File::Spec->abs2rel('/a/c/d', '/a/b');", "../c/d"),
        ("use Storable qw(dclone); my $a = [[1]]; my $b = dclone($a); $b->[0][0] = 2; our $X = $a->[0][0];", "1"),
        ("use Text::ParseWords; our $X = join '|', shellwords(q{a \"b c\" d});", "a|b c|d"),
        ("use vars qw($Y @Z); use strict; $Y = 3; @Z = (1, 2); our $X = $Y + @Z;", "5"),
        ("use Socket; our $X = inet_ntoa(inet_aton('127.0.0.1'));", "127.0.0.1"),
    ] {
        let text =
            format!("use Test::Nginx::Socket 'no_plan';\n{code}\nrun_tests();\n__DATA__\n=== a\n--- x eval: $::X\n");
        let value = loaded(&text).blocks()[0].value("x").map(|value| value.to_text());
        assert_eq!(value.as_deref(), Some(expected), "{code}");
    }
}
