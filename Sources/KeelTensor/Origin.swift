/// How to make a tensor again that is cheaper to compute than to keep: a norm's or an activation's output.
///
/// Whoever needs it in a backward pass keeps this in its place. It is made once, by the first that asks, and
/// goes with the last; the kernels give the same bits again.
final class Origin: @unchecked Sendable {
    private let make: () -> Tensor
    private var made: Tensor?

    init(_ make: @escaping () -> Tensor) { self.make = make }

    /// The tensor, untracked.
    func value() -> Tensor {
        if let made { return made }
        let value = make()
        made = value
        return value
    }
}

/// What a backward pass keeps of an input.
enum Kept {
    case tensor(Tensor)
    case origin(Origin)

    /// The input, untracked.
    var value: Tensor {
        switch self {
        case .tensor(let tensor): tensor
        case .origin(let origin): origin.value()
        }
    }
}

extension Tensor {
    /// This tensor for a backward pass.
    var kept: Kept { origin.map { .origin($0) } ?? .tensor(detach()) }

    /// This result, which can be made again from what its own backward pass keeps anyway.
    ///
    /// - Parameter make: captures detached tensors only.
    func remade(by make: @escaping () -> Tensor) -> Tensor {
        guard isTracked else { return self }
        var tensor = self
        tensor.origin = Origin(make)
        return tensor
    }
}
