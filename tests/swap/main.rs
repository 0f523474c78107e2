//! Plugins exchanged under load: no failed request, no request on two generations, no lost
//! state; and after `kill -9` the old or the new set, never none.

mod crash;
mod under_load;
