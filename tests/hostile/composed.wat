;; A plugin and a helper that it calls, each a component with a memory of its own, composed into
;; one. The first nested component is replaced by the plugin; words in braces by a case's parts.
(component
  {types}
  (component $plugin)
  (component $helper
    (core module $m
      (memory (export "memory") {memory})
      (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
      (func $loop (loop $again (br $again)))
      (func (export "help") (param $text i32) (param $bytes i32) (result i32)
        {help}))
    (core instance $i (instantiate $m))
    (func (export "help") (param "text" string) (result string)
      (canon lift (core func $i "help") (memory (core memory $i "memory"))
        (realloc (core func $i "cabi_realloc")))))
  (instance $h (instantiate $helper))
  (alias export $h "help" (func $help))
  (instance $hi (export "help" (func $help)))
  (instance $p
    (instantiate $plugin
      (with "corpus:helper/helper@1.0.0" (instance $hi))
      (with "pillion:plugin/types@{V}" (instance $types))))
  (alias export $p "pillion:plugin/lifecycle@{V}" (instance $lifecycle))
  (alias export $p "pillion:plugin/request@{V}" (instance $request))
  (export "pillion:plugin/lifecycle@{V}" (instance $lifecycle))
  (export "pillion:plugin/request@{V}" (instance $request)))
