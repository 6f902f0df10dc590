# Prints plan and values of a spec file as a JSON line, as the `dump` example does.
use strict;
use warnings;
use JSON::PP ();

my ($file) = @ARGV;
my %result = (file => $file, plan => 'no_plan');
my $json = JSON::PP->new->ascii->canonical->allow_nonref;

sub value {
    my ($value) = @_;
    return undef if !defined $value;
    my $kind = ref $value;
    return [map { value($_) } @$value] if $kind eq 'ARRAY';
    return { re => "$value" } if $kind eq 'Regexp';
    return 'CODE' if $kind eq 'CODE';
    return { hash => {map { $_ => value($value->{$_}) } keys %$value} } if $kind eq 'HASH';
    return "$value";
}

sub finish {
    print STDOUT $json->encode(\%result), "\n";
    exit 0;
}

sub run_tests {
    no warnings;
    eval { $Test::Nginx::Util::NginxVersion = Test::Nginx::Util::get_nginx_version() };
    $ENV{TEST_NGINX_SERVER_PORT} //= $Test::Nginx::Util::ServerPort;
    my @blocks;
    for my $block (Test::Base::default_object()->blocks) {
        my @order = @{ ($block->{_section_order} || [[]])->[0] };
        my %seen;
        my @values;
        for my $name (grep { !$seen{$_}++ } @order) {
            push @values, [$name, value(scalar $block->$name)];
        }
        push @blocks, { name => $block->name, before => \@values };
    }
    $result{blocks} = \@blocks;
    finish();
}

require Test::Nginx::Util;
require Test::Nginx::Socket;
require Test::Nginx::Socket::Lua;
require Test::Builder;
{
    no strict 'refs';
    no warnings;
    for my $package (qw(Test::Nginx::Util Test::Nginx::Socket Test::Nginx::Socket::Lua)) {
        *{"${package}::run_tests"} = \&run_tests;
    }
    # The order of sections is not kept by the original.
    my $parse = \&Test::Base::_parse_spec;
    my $build = \&Test::Builder::plan;
    *{'Test::Builder::plan'} = sub {
        my ($self, $kind, $value) = @_;
        $result{plan} = $kind eq 'tests' ? $value + 0 : $kind eq 'skip_all' ? { skip_all => $value } : 'no_plan' if $kind;
        finish() if defined $kind && $kind eq 'skip_all';
        return 1;
    };
}
open STDERR, '>', '/dev/null';
do "./$file";
$result{error} = "$@" if $@;
finish();
