//! Locks of `resty.lock` that a way through the function does not release.

use rsty_diag::Severity;

use super::held::{self, Held};
use super::{Group, Rule};

pub(super) static RULE: Rule = Rule {
    id: "lock_left_held",
    group: Group::Performance,
    severity: Severity::Warning,
    summary: "a lock of `resty.lock` is not released on some way",
    page: PAGE,
    check: |chunk, sink| held::check(chunk, sink, &LOCK),
};

const PAGE: &str = "\
After `lock` succeeded, each way through the function should end in `unlock`. Otherwise all others wait until the lock
expires, which takes 30 seconds unless `exptime` says otherwise.

```lua
local lock = require(\"resty.lock\"):new(\"locks\")
local elapsed, err = lock:lock(key)               -- finding
if not elapsed then
    return nil, err
end
local value = cache:get(key)
if value then
    return value                                  -- here it is left locked
end
value = fetch(key)
lock:unlock()
return value
```

Good:

```lua
local lock = require(\"resty.lock\"):new(\"locks\")
local elapsed, err = lock:lock(key)
if not elapsed then
    return nil, err
end
local value = cache:get(key) or fetch(key)
lock:unlock()
return value
```

Ways that end the request are left alone, as are locks that are passed to other functions, stored or returned.
";

const LOCK: Held = Held {
    makers: &["@resty.lock.new"],
    takes: b"lock",
    gives_back: &[b"unlock"],
    message: |name| format!("`{name}` may be left locked"),
    help: "call `unlock` on every way",
    note: "this way does not unlock it",
};

#[cfg(test)]
mod tests {
    use crate::testing::found;

    fn after(text: &str) -> usize {
        let made = "local l = require('resty.lock'):new('d') local ok, err = l:lock('k') if not ok then return end ";
        found("lock_left_held", &format!("local function f() {made}{text} end")).len()
    }

    #[test]
    fn ways_that_do_not_unlock_are_told() {
        assert_eq!(after("work()"), 1);
        assert_eq!(after("if x then return end l:unlock()"), 1);
        assert_eq!(after("l:unlock()"), 0);
        assert_eq!(after("if x then l:unlock() return end l:unlock()"), 0);
        assert_eq!(after("return l"), 0);
    }
}
