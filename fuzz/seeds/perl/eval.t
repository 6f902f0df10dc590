use lib 'lib';
use Test::Nginx::Socket::Lua;
my %sizes = (small => 3, large => 7);
my @names = sort { $sizes{$a} <=> $sizes{$b} } keys %sizes;
plan tests => repeat_each() * (blocks() * 3 + scalar(@names));
our $body = join ",", map { "$_=$sizes{$_}" } grep { /a/ } @names;
sub twice { my ($text, $n) = @_; return $text x ($n // 2); }
for my $i (1..3) { $body .= sprintf("%02d\n", $i) if $i % 2; }
$ENV{TEST_NGINX_WORD} ||= 'x';
run_tests();
__DATA__

=== TEST 1: values
--- config eval
"location /t { return 200 '$::body'; }\n" . main::twice("#", 5)
--- request eval
["GET /t", "POST /t\n" . ("a" x 10)]
--- response_body eval
my $s = "x"; $s =~ s/x/y/gi; unless ($s eq 'y') { $s = lc uc $s } $s
--- error_log eval
[qr/a\d+(?:b|c)*$/m, 'text', <<"_E_"]
here @{[1 + 2]}
_E_
