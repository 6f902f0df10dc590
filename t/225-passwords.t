=== TEST 1: passwords that the system encrypted
--- config
    location /t {
        auth_basic "closed";
        auth_basic_user_file ../html/users;
        echo "$remote_user";
    }
--- user_files
>>> users
# who may come in
ann:$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1:a note
bob:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA
--- pipelined_requests eval
["GET /t", "GET /t", "GET /t", "GET /t"]
--- more_headers eval
["Authorization: Basic YW5uOnNlY3JldA==", "Authorization: Basic YW5uOm90aGVy", "Authorization: Basic Ym9iOnNlY3JldA==", "Authorization: Basic ZXZlOnNlY3JldA=="]
--- error_code eval
[200, 401, 200, 401]
--- response_body eval
["ann\n", qr/401 Authorization Required/, "bob\n", qr/401 Authorization Required/]
--- no_error_log
[alert]
[crit]
