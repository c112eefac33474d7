//! Divides a supply between those that want some of it. Pure.

/// How much of `supply` each gets. Each gets what it wants, if that is no more than a fair share; the others get equal
/// shares of what is left. If all get what they want, the rest is divided evenly.
pub(crate) fn divide(supply: u64, wants: &[u64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|index| wants.get(*index).copied());
    let mut shares = vec![0; wants.len()];
    let mut left = supply;
    let mut others = u64::try_from(wants.len()).unwrap_or(u64::MAX);
    for index in order {
        let (Some(want), Some(share)) = (wants.get(index), shares.get_mut(index)) else { continue };
        *share = (*want).min(left / others.max(1));
        left -= *share;
        others -= 1;
    }
    let spare = left / u64::try_from(wants.len()).unwrap_or(u64::MAX).max(1);
    shares.iter_mut().for_each(|share| *share += spare);
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_wants_little_gets_it_whatever_others_want() {
        assert_eq!(divide(1_000, &[700, 5_000, 10]), [495, 495, 10]);
        assert_eq!(divide(1_000, &[100, 200]), [450, 550]);
        assert_eq!(divide(1_000, &[]), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn no_more_is_given_than_there_is_and_none_gets_less_than_an_even_part(
            supply in 0u64..1 << 48, wants in proptest::collection::vec(0u64..1 << 48, 1..40)
        ) {
            let shares = divide(supply, &wants);
            prop_assert!(shares.iter().sum::<u64>() <= supply);
            let even = supply / wants.len() as u64;
            for (share, want) in shares.iter().zip(&wants) {
                prop_assert!(*share >= even.min(*want), "{share} of {want}, and an even part is {even}");
            }
        }

        #[test]
        fn nothing_overflows(supply: u64, wants: Vec<u64>) {
            let _ = divide(supply, &wants);
        }
    }
}
