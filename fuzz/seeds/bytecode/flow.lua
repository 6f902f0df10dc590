local t = {}
while true do
    local ok, err = pcall(function(...) return select("#", ...) end, 1, nil, [==[long]==], 'q\z
      x', 1LL, 0xffULL, 2i)
    if not ok then goto continue end
    repeat t[#t + 1] = err .. "x" until #t > 2 or not t[1] == 2
    do break end
    ::continue::
end
return t
