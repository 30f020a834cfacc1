"""The style and the script of the page of `certctl report`."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c1e21;--soft:#5a6068;--line:#d9dce1;--head:#f3f4f6;
--bar:#2f6fb3;--bad:#b3261e;--warn:#8a4b00;--good:#1b6e3c}
@media(prefers-color-scheme:dark){:root{--bg:#15171a;--fg:#e6e8eb;--soft:#a4abb4;--line:#363b42;
--head:#1e2226;--bar:#6aa9e9;--bad:#ff8a80;--warn:#ffb74d;--good:#7fd69b}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.45 system-ui,sans-serif}
main{max-width:78rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1rem 0 .25rem}
p{margin:.5rem 0}
.cards{list-style:none;display:flex;flex-wrap:wrap;gap:.5rem;padding:0;margin:1rem 0}
.cards li{border:1px solid var(--line);border-left:.35rem solid var(--soft);padding:.4rem .8rem;
border-radius:.3rem}
.cards strong{font-size:1.3rem}
.cards .bad{border-left-color:var(--bad)}.cards .warn{border-left-color:var(--warn)}
.cards .good{border-left-color:var(--good)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
caption{text-align:left;color:var(--soft);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line)}
thead th{background:var(--head);position:sticky;top:0;white-space:nowrap}
thead button{font:inherit;font-weight:bold;color:inherit;background:none;border:0;padding:0;
cursor:pointer}
thead button::after{content:" \\2195";color:var(--soft)}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
tbody th{font-weight:600;overflow-wrap:break-word}
small{display:block;font-weight:400;color:var(--soft)}
td{overflow-wrap:break-word}
td.text{overflow-wrap:anywhere;min-width:12rem}
time{white-space:nowrap}
.narrow{max-width:40rem}
#certificates td{white-space:nowrap}
.state{font-weight:600;white-space:nowrap}
.bad .state,.state.bad{color:var(--bad)}.state.warn{color:var(--warn)}.state.good{color:var(--good)}
.bar{width:8rem;height:.7rem;margin-right:.5rem;fill:var(--bar);vertical-align:middle}
form{display:flex;flex-wrap:wrap;gap:.75rem;align-items:center;margin:.5rem 0}
form[hidden],tr[hidden]{display:none}
input,select{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--soft);
border-radius:.25rem;padding:.25rem .4rem;max-width:100%}
:focus-visible{outline:2px solid var(--bar);outline-offset:2px}
footer{color:var(--soft);margin:2rem 0 1rem;overflow-wrap:anywhere}
@media(max-width:48rem){
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tbody,tr,tbody th,td{display:block}
tr{border:1px solid var(--line);border-radius:.3rem;padding:.4rem .6rem;margin:.5rem 0}
tr[hidden]{display:none}
th,td{border:0;padding:.1rem 0}
#certificates td{white-space:normal}
td{display:flex;gap:.6rem}
td.text{min-width:0}
tbody th,td{overflow-wrap:anywhere}
td::before{content:attr(data-l);color:var(--soft);flex:0 0 8rem}
.bar{flex:1;margin:.4rem .5rem 0 0;max-width:8rem}
}
@media print{form{display:none}thead th{position:static}}
"""

SCRIPT = """
(function(){"use strict";
var table=document.getElementById("certificates"),form=document.getElementById("filter");
if(!table||!form)return;
var body=table.tBodies[0],rows=Array.prototype.slice.call(body.rows);
var text=document.getElementById("text"),state=document.getElementById("state");
var count=document.getElementById("count");
var words=rows.map(function(row){return row.textContent.toLowerCase()});
form.hidden=false;
form.addEventListener("submit",function(event){event.preventDefault()});
function filter(){
 var wanted=text.value.trim().toLowerCase().split(/\\s+/),shown=0;
 rows.forEach(function(row,at){
  var fits=(!state.value||row.dataset.s===state.value)&&
   wanted.every(function(word){return words[at].indexOf(word)>=0});
  row.hidden=!fits;if(fits)shown++;
 });
 count.textContent=shown+" of "+rows.length;
}
text.addEventListener("input",filter);
state.addEventListener("change",filter);
filter();
function value(row,at){
 var cell=row.cells[at];
 return cell.dataset.v===undefined?cell.textContent:Number(cell.dataset.v);
}
Array.prototype.forEach.call(table.tHead.rows[0].cells,function(cell,at){
 var button=document.createElement("button");
 button.type="button";button.textContent=cell.textContent;
 cell.textContent="";cell.appendChild(button);
 button.addEventListener("click",function(){
  var up=cell.getAttribute("aria-sort")!=="ascending";
  Array.prototype.forEach.call(table.tHead.rows[0].cells,function(each){
   each.removeAttribute("aria-sort")});
  cell.setAttribute("aria-sort",up?"ascending":"descending");
  var compare=new Intl.Collator("en",{numeric:true}).compare;
  var sorted=rows.map(function(row){return [value(row,at),row]});
  sorted.sort(function(one,other){
   var a=one[0],b=other[0],found;
   if(typeof a==="number"&&typeof b==="number")found=a-b;
   else if(typeof a==="number")found=1;
   else if(typeof b==="number")found=-1;
   else found=compare(a,b);
   return up?found:-found;
  });
  var all=document.createDocumentFragment();
  sorted.forEach(function(each){all.appendChild(each[1])});
  body.appendChild(all);
 });
});
})();
"""
