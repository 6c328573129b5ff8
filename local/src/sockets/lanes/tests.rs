use std::time::Duration;

use reachability_tests::generate::service;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;

/// What a user did: all that was taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Deed {
    user: u64,
    deeds: Vec<u32>,
}

impl Tell for Deed {
    fn absorb(&mut self, later: Self) -> Result<(), Self> {
        if self.user != later.user {
            return Err(later);
        }
        self.deeds.extend(later.deeds);
        Ok(())
    }
}

fn deed(user: u64, deed: u32) -> Deed {
    Deed { user, deeds: vec![deed] }
}

fn all(lanes: &Lanes<Deed>, of: u128) -> Vec<(u64, Vec<u32>)> {
    std::iter::from_fn(|| lanes.next(service(of))).map(|deed| (deed.user, deed.deeds)).collect()
}

#[test]
fn what_waits_takes_in_what_comes_later() {
    let (lanes, mut begun) = Lanes::new();
    let push = |of, user, n| lanes.push(service(of), user, deed(user.unwrap_or_default(), n)).unwrap();
    push(1, Some(1), 1);
    push(1, Some(2), 2);
    push(1, Some(1), 3);
    push(2, Some(1), 4);
    assert_eq!(lanes.next(service(1)), Some(Deed { user: 1, deeds: vec![1, 3] }));
    // What is being told takes nothing in.
    push(1, Some(1), 5);
    push(1, Some(2), 6);
    // What concerns all of them stays where it is, among what came before and after.
    push(1, None, 7);
    push(1, Some(2), 8);
    push(1, Some(2), 9);
    assert_eq!(all(&lanes, 1), [(2, vec![2, 6]), (1, vec![5]), (0, vec![7]), (2, vec![8, 9])]);
    assert_eq!(all(&lanes, 2), [(1, vec![4])]);
    assert!(lanes.lock().is_empty());
    assert_eq!([begun.try_recv(), begun.try_recv()], [Ok(service(1)), Ok(service(2))]);
    push(1, Some(1), 10);
    assert_eq!(begun.try_recv(), Ok(service(1)), "it begins again");
}

/// Two users whose hashes are the same are still two.
#[test]
fn users_with_the_same_hash_are_told_apart() {
    let (lanes, _begun) = Lanes::new();
    for (user, n) in [(1, 1), (2, 2), (1, 3)] {
        lanes.push(service(1), Some(7), deed(user, n)).unwrap();
    }
    assert_eq!(all(&lanes, 1), [(1, vec![1]), (2, vec![2]), (1, vec![3])]);
}

#[test]
fn only_so_much_waits_for_each_service() {
    let (lanes, _begun) = Lanes::new();
    let many = MAX_WAITING as u64;
    for user in 0..many {
        lanes.push(service(1), Some(user), deed(user, 0)).unwrap();
    }
    assert_eq!(lanes.push(service(1), Some(many), deed(many, 0)), Err(deed(many, 0)));
    assert_eq!(lanes.push(service(1), None, deed(many, 0)), Err(deed(many, 0)));
    // There is room for one who waits already, unless what concerns all came in between.
    lanes.push(service(1), Some(5), deed(5, 1)).unwrap_err();
    lanes.next(service(1));
    lanes.push(service(1), Some(5), deed(5, 2)).unwrap();
    lanes.push(service(1), Some(5), deed(5, 3)).unwrap();
    lanes.push(service(2), Some(1), deed(1, 0)).unwrap();
}

/// Tells a deed once there is a permit, and fails at the deed 13.
struct Slow {
    permits: Semaphore,
    told: Mutex<Vec<u32>>,
    cut: Mutex<Vec<u64>>,
}

impl Teller for Slow {
    type Told = Deed;

    async fn tell(&self, told: &Deed) {
        if told.user == 1 {
            self.permits.acquire().await.unwrap().forget();
        }
        assert!(!told.deeds.contains(&13), "this one cannot be told");
        self.told.lock().unwrap().extend(&told.deeds);
    }

    fn cut(&self, told: &Deed) {
        self.cut.lock().unwrap().push(told.user);
    }
}

#[tokio::test]
async fn a_service_waits_for_no_other_and_for_no_panic() {
    let (lanes, begun) = Lanes::new();
    let slow = Arc::new(Slow { permits: Semaphore::new(0), told: Mutex::default(), cut: Mutex::default() });
    tokio::spawn(empty(lanes.clone(), begun, slow.clone()));
    let told = async |count: usize| {
        while slow.told.lock().unwrap().len() + slow.cut.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    lanes.push(service(1), Some(1), deed(1, 1)).unwrap();
    lanes.push(service(2), Some(2), deed(2, 2)).unwrap();
    timeout(Duration::from_secs(30), told(1)).await.unwrap();
    assert_eq!(*slow.told.lock().unwrap(), [2]);
    lanes.push(service(1), Some(3), deed(3, 13)).unwrap();
    lanes.push(service(1), Some(4), deed(4, 4)).unwrap();
    slow.permits.add_permits(1);
    timeout(Duration::from_secs(30), told(4)).await.unwrap();
    assert_eq!(*slow.told.lock().unwrap(), [2, 1, 4]);
    assert_eq!(*slow.cut.lock().unwrap(), [3]);
}
