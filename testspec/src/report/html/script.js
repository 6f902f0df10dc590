(function () {
  var search = document.querySelector('input[type=search]');
  var files = Array.from(document.querySelectorAll('.file'));
  var none = document.querySelector('.none');
  var index = new Map();
  files.forEach(function (file) {
    var path = file.querySelector('h2').textContent.toLowerCase();
    file.querySelectorAll('.block').forEach(function (block) {
      index.set(block, path + ' ' + block.querySelector('.row').textContent.toLowerCase());
    });
  });
  function apply() {
    var words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    files.forEach(function (file) {
      var any = 0;
      file.querySelectorAll('.block').forEach(function (block) {
        var text = index.get(block);
        block.hidden = words.some(function (word) { return text.indexOf(word) === -1; });
        any += getComputedStyle(block).display === 'none' ? 0 : 1;
      });
      file.hidden = any === 0;
      shown += any;
      if (words.length !== 0) { if (any !== 0) { file.open = true; } }
    });
    none.hidden = shown !== 0;
  }
  search.addEventListener('input', apply);
  document.querySelectorAll('.tools input[type=checkbox]').forEach(function (box) { box.addEventListener('change', apply); });
  document.addEventListener('keydown', function (event) {
    if (event.key === '/') { if (event.target !== search) { event.preventDefault(); search.focus(); } }
    if (event.key === 'Escape') { if (event.target === search) { search.value = ''; apply(); search.blur(); } }
  });
  document.querySelectorAll('.rerun button').forEach(function (button) {
    button.hidden = false;
    button.addEventListener('click', function () {
      var code = button.parentNode.querySelector('code');
      getSelection().selectAllChildren(code);
      if (navigator.clipboard) { navigator.clipboard.writeText(code.textContent); } else { document.execCommand('copy'); }
      button.textContent = 'Copied';
      setTimeout(function () { button.textContent = 'Copy'; }, 1500);
    });
  });
  function reveal() {
    var target = location.hash.length === 0 ? null : document.getElementById(location.hash.slice(1));
    for (var at = target; at; at = at.parentElement) { if (at.tagName === 'DETAILS') { at.open = true; } }
    if (target) { target.scrollIntoView(); }
  }
  addEventListener('hashchange', reveal);
  addEventListener('beforeprint', function () {
    document.querySelectorAll('.file').forEach(function (file) { file.open = true; });
  });
  reveal();
}());
