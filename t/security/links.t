=== TEST 1: links are followed as far as the location allows
--- http_config
    init_by_lua_block {
        local html = ngx.config.prefix() .. "html/"
        os.execute("ln -sf ../secret " .. html .. "d/link; ln -sfn d " .. html .. "folder; ln -sf f.txt " .. html .. "d/near")
    }
--- config
    location /d/ { }
    location /on/ {
        disable_symlinks on;
        alias html/d/;
    }
    location /owner/ {
        disable_symlinks if_not_owner;
        alias html/d/;
    }
    location /folder/ {
        disable_symlinks on;
    }
    location /from/ {
        disable_symlinks on from=$document_root;
        alias html/folder/;
    }
    location /try/ {
        disable_symlinks on;
        root html/d;
        try_files /link /f.txt =404;
    }
    location /t {
        content_by_lua_block {
            for path in ("/d/link /on/f.txt /on/link /on/near /owner/near /folder/f.txt /from/f.txt /from/near /try/x"):gmatch("%S+") do
                local answer = ngx.location.capture(path)
                ngx.say(path, " ", answer.status, " ", answer.status == 200 and answer.body:sub(1, -2) or "")
            end
        }
    }
--- user_files
>>> d/f.txt
plain
>>> secret
hidden
--- request
GET /t
--- response_body
/d/link 200 hidden
/on/f.txt 200 plain
/on/link 403 
/on/near 403 
/owner/near 200 plain
/folder/f.txt 404 
/from/f.txt 200 plain
/from/near 403 
/try/x 200 plain
--- error_log
Too many levels of symbolic links



=== TEST 2: a value that means nothing
--- config
    location /d/ { disable_symlinks some; }
--- must_die
--- error_log
invalid parameter "some"
