//! Places, the reserve and the lanes, one after the other; all at once is for `tests/loom.rs`.

use super::*;

fn pool(limit: u32) -> Arc<Pool> {
    Arc::new(Pool::new(Size::of(limit)))
}

fn usage(in_use: u32, general: u32, limit: u32, reserve: u32) -> Usage {
    Usage { in_use, general, limit, reserve }
}

#[test]
fn gives_exactly_as_many_places_as_there_are() {
    let pool = pool(2);
    let first = pool.acquire(Draw::General).unwrap();
    let _second = pool.acquire(Draw::Reserved).unwrap();
    assert_eq!(pool.acquire(Draw::Reserved).unwrap_err(), usage(2, 1, 2, 0));
    drop(first);
    let _third = pool.acquire(Draw::General).unwrap();
    assert_eq!(pool.usage(), usage(2, 1, 2, 0));
    assert_eq!(pool.peak(), 2);
}

#[test]
fn the_reserve_is_kept_from_general_draws_only() {
    let pool = Arc::new(Pool::new(Size { reserve: 1, ..Size::of(3) }));
    let _general = [(); 2].map(|()| pool.acquire(Draw::General).unwrap());
    assert_eq!(pool.acquire(Draw::General).unwrap_err(), usage(2, 2, 3, 1));
    let _reserved = pool.acquire(Draw::Reserved).unwrap();
    assert_eq!(pool.acquire(Draw::Reserved).unwrap_err(), usage(3, 2, 3, 1));
}

#[test]
fn reserved_draws_beyond_the_reserve_are_had_from_everybody() {
    let pool = Arc::new(Pool::new(Size { reserve: 1, ..Size::of(3) }));
    let _reserved = [(); 2].map(|()| pool.acquire(Draw::Reserved).unwrap());
    let _general = pool.acquire(Draw::General).unwrap();
    assert_eq!(pool.acquire(Draw::General).unwrap_err(), usage(3, 1, 3, 1), "in use holds it, not the reserve");
}

#[test]
fn a_place_that_is_kept_makes_room_for_a_general_one() {
    let pool = Arc::new(Pool::new(Size { reserve: 1, ..Size::of(2) }));
    let mut place = pool.acquire(Draw::General).unwrap();
    assert!(pool.acquire(Draw::General).is_err());
    place.keep();
    place.keep();
    assert_eq!((place.draw(), pool.usage()), (Draw::Reserved, usage(1, 0, 2, 1)));
    let another = pool.acquire(Draw::General).unwrap();
    drop((place, another));
    assert_eq!(pool.usage(), usage(0, 0, 2, 1));
}

#[test]
fn a_lane_is_as_wide_as_it_is_and_free_again_once_left_or_kept() {
    let size = Size { limit: 9, reserve: 4, first_places: 1, authenticating: 2 };
    let pool = Arc::new(Pool::new(size));
    for (draw, width) in [(Draw::FirstPlace, 1), (Draw::Authenticating, 2)] {
        let mut places: Vec<_> = (0..width).map(|_| pool.acquire(draw).unwrap()).collect();
        assert!(pool.acquire(draw).is_err());
        assert_eq!(pool.in_lane(draw), Some(width));
        places[0].keep();
        let again = pool.acquire(draw).unwrap();
        drop((again, places));
        assert_eq!(pool.in_lane(draw), Some(0));
    }
    let _all = [(); 9].map(|()| pool.acquire(Draw::Reserved).unwrap());
    assert!(pool.acquire(Draw::FirstPlace).is_err(), "a lane makes no places");
    assert_eq!((pool.usage().in_use, pool.in_lane(Draw::FirstPlace)), (9, Some(0)));
}

#[test]
fn a_place_is_held_by_another_right_where_there_is_room_for_it() {
    let pool = Arc::new(Pool::new(Size { limit: 4, reserve: 2, first_places: 1, authenticating: 1 }));
    let mut places: Vec<_> =
        [Draw::General, Draw::General, Draw::FirstPlace, Draw::Reserved].map(|draw| pool.acquire(draw).unwrap()).into();
    for draw in [Draw::General, Draw::FirstPlace] {
        assert!(places[3].redraw(draw).is_err());
        assert_eq!((places[3].draw(), pool.usage()), (Draw::Reserved, usage(4, 2, 4, 2)));
    }
    assert_eq!(places[0].others(), usage(3, 1, 4, 2));
    places[3].redraw(Draw::Authenticating).unwrap();
    places[0].redraw(Draw::Reserved).unwrap();
    places[3].redraw(Draw::General).unwrap();
    places[2].redraw(Draw::Authenticating).unwrap();
    places[2].redraw(Draw::Authenticating).unwrap();
    assert_eq!((pool.usage(), pool.in_lane(Draw::FirstPlace), pool.in_lane(Draw::Authenticating)), (usage(4, 2, 4, 2), Some(0), Some(1)));
    pool.resize(Size { limit: 1, reserve: 0, first_places: 0, authenticating: 0 });
    assert!(places[0].redraw(Draw::General).is_err(), "over the limit there is no general place");
    drop(places);
    assert_eq!((pool.usage(), pool.in_lane(Draw::Authenticating)), (usage(0, 0, 1, 0), Some(0)));
}

#[test]
fn a_lowered_limit_is_a_debt_that_returning_places_pay() {
    let pool = pool(3);
    let mut places: Vec<_> = (0..3).map(|_| pool.acquire(Draw::General).unwrap()).collect();
    let usage = pool.resize(Size::of(1));
    assert_eq!((usage.over_limit(), usage.free()), (2, 0));
    for owed in [1, 0] {
        places.pop();
        assert_eq!(pool.usage().over_limit(), owed);
        assert!(pool.acquire(Draw::Reserved).is_err(), "a place was given out of a debt of {owed}");
    }
    places.pop();
    assert!(pool.acquire(Draw::General).is_ok());
}

#[test]
fn a_raised_limit_or_reserve_is_in_force_for_the_next_acquire() {
    let pool = pool(1);
    let _held = pool.acquire(Draw::General).unwrap();
    assert!(pool.acquire(Draw::General).is_err());
    assert_eq!(pool.resize(Size { reserve: 1, ..Size::of(2) }).free(), 1);
    assert!(pool.acquire(Draw::General).is_err());
    assert!(pool.acquire(Draw::Reserved).is_ok());
    pool.resize(Size::of(2));
    assert!(pool.acquire(Draw::General).is_ok());
}

#[test]
fn the_fields_of_the_word_do_not_touch() {
    let pool = pool(Pool::PLACES_MOST);
    let mut place = pool.acquire(Draw::General).unwrap();
    assert_eq!(pool.usage(), usage(1, 1, Pool::PLACES_MOST, 0));
    place.keep();
    assert_eq!(pool.usage(), usage(1, 0, Pool::PLACES_MOST, 0));
    drop(place);
    let full = usage(Pool::PLACES_MOST, Pool::PLACES_MOST, Pool::PLACES_MOST, 0);
    assert_eq!(Usage::from_word(full.to_word(), 0), full);
    assert_eq!(pool.resize(Size::of(u32::MAX)).limit, Pool::PLACES_MOST);
    assert_eq!(pool.resize(Size::of(0)), usage(0, 0, 0, 0));
    assert!(pool.acquire(Draw::Reserved).is_err());
}

#[test]
fn a_place_that_is_kept_already_tells_nobody() {
    fn is_told(mut waits: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        waits.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }
    let pool = pool(2);
    let mut place = pool.acquire(Draw::General).unwrap();
    let mut waits = std::pin::pin!(pool.vacancy().told());
    place.keep();
    assert!(is_told(waits.as_mut()), "a general place is free");
    let mut waits = std::pin::pin!(pool.vacancy().told());
    place.keep();
    assert!(!is_told(waits.as_mut()), "as with every command after a password");
    drop(place);
    assert!(is_told(waits.as_mut()));
}
