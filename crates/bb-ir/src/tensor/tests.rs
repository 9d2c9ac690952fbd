//! Tensors: what they refuse, what they share, what they show.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn shape_and_elements_must_agree() {
    let error = Tensor::from_slice([2, 2], &[1.0_f32]).unwrap_err();
    assert_eq!(error, TensorError::ElementCount { expected: 4, got: 1, shape: [2, 2].into() });
    let shape = Shape::from([usize::MAX, 2]);
    assert_eq!(
        Tensor::zeros(DataType::U8, shape.clone()),
        Err(TensorError::TooLarge { dtype: DataType::U8, shape })
    );
    assert!(Tensor::zeros(DataType::U8, [0, usize::MAX, 2]).is_err());
    assert!(Tensor::zeros(DataType::F32, [0, 5]).unwrap().buffer().is_empty());
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let byte_count = isize::MAX as usize - 7;
    let error = Tensor::zeros(DataType::U8, [byte_count]).unwrap_err();
    assert_eq!(error, TensorError::AllocationFailed { byte_count });
}

#[test]
fn elements_are_read_as_their_own_type_only() {
    let tensor = Tensor::from_rows([[1_i32, -1]]);
    assert_eq!(tensor.as_slice::<i32>(), Ok([1, -1].as_slice()));
    let error = TensorError::WrongType { expected: DataType::F32, got: DataType::I32 };
    assert_eq!(tensor.as_slice::<f32>(), Err(error));
    let halves = Tensor::zeros(DataType::F16, [2]).unwrap();
    assert_eq!(halves.as_slice::<u16>(), Ok([0, 0].as_slice()));
    assert!(Tensor::zeros(DataType::Bool, [1]).unwrap().as_slice::<u8>().is_ok());
}

#[test]
fn a_clone_shares_until_one_is_written() {
    let first = Tensor::from_rows([[1_u8, 2, 3]]);
    let mut second = first.clone();
    assert!(first.buffer().is_same(second.buffer()));
    assert!(second.buffer_mut().unique_mut().is_none());
    second.make_mut::<u8>().unwrap()[0] = 9;
    assert_eq!(first.as_bytes(), [1, 2, 3]);
    assert_eq!(second.as_bytes(), [9, 2, 3]);
    assert!(second.buffer_mut().unique_mut().is_some());
}

#[test]
fn a_reshaped_tensor_shares_its_elements() {
    let tensor = Tensor::from_rows([[1_i64, 2, 3], [4, 5, 6]]);
    let column = tensor.reshaped([6, 1]).unwrap();
    assert!(column.buffer().is_same(tensor.buffer()));
    assert!(tensor.reshaped([5]).is_err());
}

#[test]
fn a_charge_is_released_with_the_last_clone() {
    static RELEASED: AtomicUsize = AtomicUsize::new(0);
    #[derive(Debug)]
    struct Counted;
    impl Charge for Counted {}
    impl Drop for Counted {
        fn drop(&mut self) {
            RELEASED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let charged = Tensor::scalar(1.0_f64).with_charge(Arc::new(Counted));
    let clone = charged.clone();
    drop(charged);
    assert_eq!(RELEASED.load(Ordering::Relaxed), 0);
    drop(clone);
    assert_eq!(RELEASED.load(Ordering::Relaxed), 1);
}

#[test]
fn equality_is_of_bits() {
    let nan = Tensor::scalar(f32::NAN);
    assert_eq!(nan, nan.clone());
    assert_ne!(Tensor::scalar(0.0_f32), Tensor::scalar(-0.0_f32));
    assert_ne!(Tensor::scalar(0_i32), Tensor::scalar(0_u32));
}

#[test]
fn little_endian_bytes_are_those_of_the_elements() {
    let tensor = Tensor::from_rows([[0x0102_u16, 0x0304]]);
    assert_eq!(*tensor.to_le_bytes(), [2, 1, 4, 3]);
    let data = Buffer::from_le_bytes(&[2, 1, 4, 3], 2).unwrap();
    assert_eq!(Tensor::from_buffer(DataType::U16, [1, 2], data), Ok(tensor));
}

#[test]
fn the_text_of_large_and_empty_tensors_is_short() {
    assert_eq!(Tensor::scalar(2_i8).to_string(), "i8[] 2");
    assert_eq!(Tensor::zeros(DataType::F32, [100]).unwrap().to_string(), "f32[100] […]");
    assert_eq!(Tensor::zeros(DataType::F32, [1 << 40, 0]).unwrap().to_string(), "f32[1099511627776,0] []");
}
