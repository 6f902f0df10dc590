//! Connections that a way through the function neither keeps nor closes.

use rsty_diag::Severity;

use super::held::{self, Held};
use super::{Group, Rule};

pub(super) static RULE: Rule = Rule {
    id: "socket_left_open",
    group: Group::Performance,
    severity: Severity::Warning,
    summary: "a connection is neither kept nor closed on some way",
    page: PAGE,
    check: |chunk, sink| held::check(chunk, sink, &CONNECTION),
};

const PAGE: &str = "\
After `connect` succeeded, each way through the function should end in `setkeepalive`, which puts the connection into the
pool for the next request, or in `close`. Otherwise it stays open until the request is over and is then thrown away.

```lua
local red = require(\"resty.redis\"):new()
local ok, err = red:connect(\"127.0.0.1\", 6379)   -- finding
if not ok then
    return nil, err
end
local user = red:get(id)
if user == ngx.null then
    return nil                                    -- here it is left open
end
red:set_keepalive(10000, 100)
return user
```

Good:

```lua
local red = require(\"resty.redis\"):new()
local ok, err = red:connect(\"127.0.0.1\", 6379)
if not ok then
    return nil, err
end
local user, failure = red:get(id)
red:set_keepalive(10000, 100)
return user, failure
```

Ways on which a call of the connection failed are left alone: a broken connection can't be kept. So are connections that
are passed to other functions, stored or returned.
";

const CONNECTION: Held = Held {
    makers: &[
        "ngx.socket.tcp",
        "ngx.socket.stream",
        "@resty.redis.new",
        "@resty.mysql.new",
        "@resty.memcached.new",
        "@resty.http.new",
        "@resty.websocket.client.new",
    ],
    takes: b"connect",
    gives_back: &[b"close", b"setkeepalive", b"set_keepalive"],
    message: |name| format!("the connection of `{name}` may be left open"),
    help: "call `setkeepalive` or `close` on every way",
    note: "this way neither keeps nor closes it",
};

#[cfg(test)]
mod tests {
    use crate::testing::found;

    const MADE: &str = "local s = ngx.socket.tcp() local ok, err = s:connect('h', 1) if not ok then return end ";

    fn after(text: &str) -> usize {
        found("socket_left_open", &format!("local function f() {MADE}{text} end")).len()
    }

    #[test]
    fn ways_that_leave_it_open_are_told() {
        assert_eq!(found("socket_left_open", &format!("{MADE} s:send('x')")), ["1:44"]);
        assert_eq!(after("if x then return end s:close()"), 1);
        assert_eq!(after("while x do if y then break end s:send('a') end"), 1);
        assert_eq!(found("socket_left_open", "local r = require('resty.redis'):new() r:connect('h', 1)").len(), 1);
    }

    #[test]
    fn ways_that_keep_or_close_it_are_not() {
        assert_eq!(after("s:close()"), 0);
        assert_eq!(after("local l, e = s:receive() if not l then return nil, e end return s:setkeepalive()"), 0);
        assert_eq!(after("if x then s:close() return end s:setkeepalive(1, 2)"), 0);
        assert_eq!(after("if x then ngx.exit(500) end s:close()"), 0);
        assert_eq!(after("if not s:send('x') then return end s:close()"), 0);
    }

    #[test]
    fn connections_that_others_may_close_are_left_alone() {
        for text in ["return s", "g(s)", "self.s = s", "h(function() s:close() end)", "local t = s"] {
            assert_eq!(after(text), 0, "{text}");
        }
    }
}
