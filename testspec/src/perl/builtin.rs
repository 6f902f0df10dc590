//! The table of Perl's built-in functions in the subset, with how each one takes its arguments.

/// How arguments are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arity {
    /// `time`: none.
    None,
    /// `join LIST`: everything up to the end of the list.
    List,
    /// `lc EXPR`: one, binding tighter than comparison; without one, `$_` or the function's own default.
    Unary,
}

macro_rules! builtins {
    ($($variant:ident $name:literal $arity:ident)*) => {
        /// A built-in function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Builtin { $($variant),* }

        impl Builtin {
            /// Looks a function up by its name.
            pub(crate) fn find(name: &str) -> Option<(Self, Arity)> {
                match name {
                    $($name => Some((Self::$variant, Arity::$arity)),)*
                    _ => None,
                }
            }

            /// The function's name.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

builtins! {
    Abs "abs" Unary
    Atan2 "atan2" List
    Binmode "binmode" List
    Bless "bless" List
    Caller "caller" Unary
    Chdir "chdir" Unary
    Chmod "chmod" List
    Chomp "chomp" Unary
    Chop "chop" Unary
    Chr "chr" Unary
    Close "close" Unary
    Closedir "closedir" Unary
    Cos "cos" Unary
    Defined "defined" Unary
    Delete "delete" Unary
    Die "die" List
    Each "each" Unary
    Eof "eof" Unary
    Exists "exists" Unary
    Exit "exit" Unary
    Exp "exp" Unary
    Fileno "fileno" Unary
    Getppid "getppid" None
    Glob "glob" Unary
    Gmtime "gmtime" Unary
    Hex "hex" Unary
    Index "index" List
    Int "int" Unary
    Join "join" List
    Keys "keys" Unary
    Kill "kill" List
    Lc "lc" Unary
    Lcfirst "lcfirst" Unary
    Length "length" Unary
    Link "link" List
    Localtime "localtime" Unary
    Log "log" Unary
    Lstat "lstat" Unary
    Mkdir "mkdir" List
    Oct "oct" Unary
    Open "open" List
    Opendir "opendir" List
    Ord "ord" Unary
    Pack "pack" List
    Pop "pop" Unary
    Pos "pos" Unary
    Print "print" List
    Printf "printf" List
    Push "push" List
    Quotemeta "quotemeta" Unary
    Rand "rand" Unary
    Read "read" List
    Readdir "readdir" Unary
    Readline "readline" Unary
    Readlink "readlink" Unary
    Ref "ref" Unary
    Rename "rename" List
    Reverse "reverse" List
    Rindex "rindex" List
    Rmdir "rmdir" Unary
    Say "say" List
    Scalar "scalar" Unary
    Select "select" List
    Shift "shift" Unary
    Sin "sin" Unary
    Sleep "sleep" Unary
    Splice "splice" List
    Split "split" List
    Sprintf "sprintf" List
    Sqrt "sqrt" Unary
    Srand "srand" Unary
    Stat "stat" Unary
    Substr "substr" List
    Symlink "symlink" List
    System "system" List
    Time "time" None
    Uc "uc" Unary
    Ucfirst "ucfirst" Unary
    Umask "umask" Unary
    Undef "undef" Unary
    Unlink "unlink" List
    Unpack "unpack" List
    Unshift "unshift" List
    Utime "utime" List
    Values "values" Unary
    Warn "warn" List
}
