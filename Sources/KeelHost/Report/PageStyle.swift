import KeelCore

/// The style sheet and the script of a report page.
enum PageStyle {
    static let css =
        """
        :root{--bg:#fff;--panel:#fff;--soft:#f6f8fa;--text:#1f2328;--dim:#57606a;--edge:#d8dee4;--accent:#0072b2;--warn:#9a6700;--warnbg:#fff8e5;--good:#1a7f37;--bad:#cf222e}
        @media (prefers-color-scheme:dark){:root{--bg:#0d1117;--panel:#14181d;--soft:#181d24;--text:#e6edf3;--dim:#9aa4af;--edge:#2d343c;--accent:#56b4e9;--warn:#e3b341;--warnbg:#272115;--good:#56d364;--bad:#ff7b72}}
        *{box-sizing:border-box}
        html{color-scheme:light dark;scroll-behavior:smooth}
        body{margin:0;background:var(--bg);color:var(--text);font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
        main,.top>div{max-width:1320px;margin:0 auto;padding:0 24px}
        .top{border-bottom:1px solid var(--edge);background:var(--soft);padding:22px 0 0}
        h1{font-size:24px;line-height:1.25;margin:0 0 4px;overflow-wrap:anywhere}
        h2{font-size:18px;margin:36px 0 12px;padding-top:8px}
        h3{font-size:14px;margin:22px 0 8px;color:var(--dim);font-weight:600}
        .sub{color:var(--dim);margin:0 0 14px;overflow-wrap:anywhere}
        nav{display:flex;flex-wrap:wrap;gap:4px 20px}
        nav a{color:var(--dim);text-decoration:none;padding:8px 0;border-bottom:2px solid transparent}
        nav a:hover{color:var(--text);border-color:var(--accent)}
        .chip{display:inline-block;font-size:12px;font-weight:600;line-height:1;padding:4px 8px;border-radius:10px;border:1px solid currentColor;vertical-align:3px;margin-left:8px}
        .chip.good{color:var(--good)}.chip.warn{color:var(--warn)}
        .tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(172px,1fr));gap:12px;margin:20px 0}
        .tile{border:1px solid var(--edge);border-radius:8px;padding:10px 14px;background:var(--panel)}
        .tile b{display:block;font-size:22px;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums}
        .tile span,.tile small{color:var(--dim);font-size:12px;display:block;overflow-wrap:anywhere}
        .remarks{border:1px solid var(--edge);border-left:4px solid var(--warn);background:var(--warnbg);border-radius:6px;padding:8px 14px;margin:16px 0}
        .remarks ul{margin:4px 0;padding-left:20px}
        .remarks li{white-space:pre-line;overflow-wrap:anywhere}
        .cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(380px,1fr));gap:14px}
        .card{margin:0;border:1px solid var(--edge);border-radius:8px;background:var(--panel);padding:4px 6px 2px;position:relative;min-width:0}
        .card svg{display:block;width:100%;height:auto}
        .card .bg{fill:none}
        .log{display:none}
        .lg{position:absolute;right:62px;top:12px;opacity:0}
        .lg+label{position:absolute;right:14px;top:9px;font-size:11px;color:var(--dim);border:1px solid var(--edge);border-radius:10px;padding:1px 8px;cursor:pointer;user-select:none}
        .lg:checked+label{color:var(--accent);border-color:var(--accent)}
        .lg:focus-visible+label{outline:2px solid var(--accent)}
        .lg:checked~.log{display:block}.lg:checked~.lin{display:none}
        .scroll{overflow-x:auto}
        table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:4px 0 12px}
        th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--edge);vertical-align:top}
        thead th{color:var(--dim);font-weight:600;font-size:12px;border-bottom:2px solid var(--edge);white-space:nowrap}
        tbody th{font-weight:400;white-space:nowrap}
        td.n,th.n{text-align:right;white-space:nowrap}
        .iv{color:var(--dim);font-size:12px}
        .swatch{display:inline-block;width:18px;height:3px;vertical-align:4px;margin-right:7px;border-radius:2px}
        code,pre,.hash{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:12px}
        .hash{color:var(--dim);overflow-wrap:anywhere}
        pre{background:var(--soft);border:1px solid var(--edge);border-radius:6px;padding:12px;overflow:auto;max-height:520px}
        details{margin:8px 0}
        summary{cursor:pointer;color:var(--dim)}
        summary:hover{color:var(--text)}
        summary b{color:var(--text);font-weight:600}
        .sample{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,7fr) 170px;gap:0 18px;border-top:1px solid var(--edge);padding:9px 0}
        .sample>div{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;max-height:320px;overflow:auto}
        .sample .p{color:var(--dim)}
        .sample .r{white-space:normal;font-variant-numeric:tabular-nums;font-size:12px;color:var(--dim)}
        .sample .r b{color:var(--text);font-size:14px}
        @media (max-width:760px){.sample{grid-template-columns:1fr}.cards{grid-template-columns:1fr}}
        .tip{position:fixed;pointer-events:none;z-index:9;background:var(--panel);color:var(--text);border:1px solid var(--edge);border-radius:6px;box-shadow:0 2px 10px #0003;padding:6px 10px;font-size:12px;white-space:nowrap;font-variant-numeric:tabular-nums;display:none}
        .tip i{font-style:normal;color:var(--dim)}
        footer{color:var(--dim);font-size:12px;border-top:1px solid var(--edge);margin:40px 0 0;padding:14px 0 30px}
        @media print{nav,.lg+label{display:none}.card,.tile,.sample{break-inside:avoid}.cards{grid-template-columns:1fr 1fr}}

        """

    /// Colours of the series for tables, as the charts have them.
    static let swatches: String = {
        let rules = { (palette: [String]) in
            palette.enumerated().map { ".c\($0){background:\($1)}" }.joined()
        }
        return rules(ChartStyle.light) + "\n@media (prefers-color-scheme:dark){"
            + rules(ChartStyle.dark) + "}\n"
    }()

    /// Shows the values under the pointer: places of the lines, read back through their axes.
    ///
    /// The page says all that matters without it.
    static let script =
        """
        (function(){
        var tip=document.createElement('div');tip.className='tip';document.body.appendChild(tip);
        var NS='http://www.w3.org/2000/svg';
        function nums(s){return s.split(' ').map(Number)}
        function back(a,s){return a[2]?a[0]*Math.pow(a[1]/a[0],s):a[0]+(a[1]-a[0])*s}
        function show(v){var a=Math.abs(v);return a!==0&&(a<1e-4||a>=1e7)?v.toExponential(3):String(Number(v.toPrecision(4)))}
        function points(p){
          if(!p.keelPoints)p.keelPoints=p.getAttribute('d').split(/[ML]/).filter(Boolean).map(nums);
          return p.keelPoints}
        function hide(svg){tip.style.display='none';var g=svg.querySelector('.guide');if(g)g.remove()}
        document.querySelectorAll('svg.keel-chart').forEach(function(svg){
          svg.addEventListener('pointerleave',function(){hide(svg)});
          svg.addEventListener('pointermove',function(e){
            var m=svg.getScreenCTM();if(!m)return;
            var at=new DOMPoint(e.clientX,e.clientY).matrixTransform(m.inverse()),hit=null;
            svg.querySelectorAll('.panel').forEach(function(g){
              var b=nums(g.dataset.box);
              if(at.x>=b[0]-6&&at.x<=b[2]+6&&at.y>=b[1]-6&&at.y<=b[3]+6)hit={g:g,b:b}});
            hide(svg);if(!hit)return;
            var b=hit.b,best=null,rows=[];
            hit.g.querySelectorAll('path.line[data-label]').forEach(function(p){
              var near=null;
              points(p).forEach(function(q){if(!near||Math.abs(q[0]-at.x)<Math.abs(near[0]-at.x))near=q});
              if(near)rows.push({p:p,q:near});
              if(near&&(!best||Math.abs(near[0]-at.x)<Math.abs(best[0]-at.x)))best=near});
            if(!best)return;
            var ax=nums(hit.g.dataset.x),ay=nums(hit.g.dataset.y);
            var line=document.createElementNS(NS,'line');
            line.setAttribute('class','axis guide');
            line.setAttribute('x1',best[0]);line.setAttribute('x2',best[0]);
            line.setAttribute('y1',b[1]);line.setAttribute('y2',b[3]);svg.appendChild(line);
            tip.textContent='';
            var head=document.createElement('i');
            head.textContent=(hit.g.dataset.name||'')+' '+show(back(ax,(best[0]-b[0])/(b[2]-b[0])));
            tip.appendChild(head);
            rows.filter(function(r){return Math.abs(r.q[0]-best[0])<4}).forEach(function(r){
              var d=document.createElement('div'),s=document.createElement('span');
              s.className='swatch';s.style.background=getComputedStyle(r.p).stroke;d.appendChild(s);
              d.appendChild(document.createTextNode(r.p.dataset.label+'  '+show(back(ay,(b[3]-r.q[1])/(b[3]-b[1])))));
              tip.appendChild(d)});
            tip.style.display='block';
            var w=tip.offsetWidth,h=tip.offsetHeight;
            tip.style.left=Math.min(e.clientX+14,innerWidth-w-8)+'px';
            tip.style.top=Math.min(e.clientY+14,innerHeight-h-8)+'px'})})
        })()
        """

    /// What the page may do: draw itself, and run this one script; nothing from outside.
    static var policy: String {
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-\(base64(SHA256.hex(script)))'"
    }

    /// Base64 of bytes written in hexadecimal digits.
    static func base64(_ hex: String) -> String {
        let digits = hex.utf8.map { Int($0 <= 0x39 ? $0 - 0x30 : $0 - 0x57) }
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        let bits = digits.flatMap { digit in [8, 4, 2, 1].map { digit & $0 == 0 ? 0 : 1 } }
        var out = ""
        for start in stride(from: 0, to: bits.count, by: 6) {
            var value = 0
            for n in start..<(start + 6) { value = 2 * value + (n < bits.count ? bits[n] : 0) }
            out.append(letters[value])
        }
        while !out.count.isMultiple(of: 4) { out.append("=") }
        return out
    }
}
