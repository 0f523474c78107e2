;; The canonical ABI of world `pillion:plugin/plugin`, written once. Words in braces are replaced
;; by a case's own parts; `{V}` is the contract's version.
;;
;; Memory: a decision at 16, the result of `configure` at 160, the descriptor at 1024 with its
;; strings behind it, scratch space of a case at 32768, and from 65536 on what `cabi_realloc`
;; hands out, which begins again at its start when it reaches the end.
(module
  {imports}
  (memory (export "memory") {memory})
  (global $heap (mut i32) (i32.const 65536))
  {data}
  (func $alloc (param $size i32) (result i32) (local $at i32)
    (if (i32.gt_u
          (i32.add (global.get $heap) (i32.add (local.get $size) (i32.const 16)))
          (i32.mul (memory.size) (i32.const 65536)))
      (then (global.set $heap (i32.const 65536))))
    (local.set $at (global.get $heap))
    (global.set $heap
      (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (local.get $at))
  ;; `continue`
  (func $continue (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.const 16))
  ;; `respond` or `replace`: headers are `count` records of four words at `headers`
  (func $answer (param $status i32) (param $headers i32) (param $count i32) (param $body i32)
        (param $bytes i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 2))
    (i32.store16 (i32.const 20) (local.get $status))
    (i32.store (i32.const 24) (local.get $headers))
    (i32.store (i32.const 28) (local.get $count))
    (i32.store (i32.const 32) (local.get $body))
    (i32.store (i32.const 36) (local.get $bytes))
    (i32.const 16))
  (func $respond (param $status i32) (param $body i32) (param $bytes i32) (result i32)
    (call $answer (local.get $status) (i32.const 0) (i32.const 0) (local.get $body)
      (local.get $bytes)))
  ;; `err` with `count` configuration errors of four words at `errors`
  (func $refuse (param $errors i32) (param $count i32) (result i32)
    (i32.store8 (i32.const 160) (i32.const 1))
    (i32.store (i32.const 164) (local.get $errors))
    (i32.store (i32.const 168) (local.get $count))
    (i32.const 160))
  ;; one record of two strings or lists
  (func $pair (param $at i32) (param $a i32) (param $a_len i32) (param $b i32) (param $b_len i32)
    (i32.store (local.get $at) (local.get $a))
    (i32.store offset=4 (local.get $at) (local.get $a_len))
    (i32.store offset=8 (local.get $at) (local.get $b))
    (i32.store offset=12 (local.get $at) (local.get $b_len)))
  (func $loop (loop $again (br $again)))
  (func $realloc (export "cabi_realloc")
        (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    {realloc})
  (func (export "pillion:plugin/lifecycle@{V}#describe") (result i32)
    {describe})
  (func (export "pillion:plugin/lifecycle@{V}#configure")
        (param $json i32) (param $bytes i32) (result i32)
    {configure})
  {hooks}
  {items}
)
