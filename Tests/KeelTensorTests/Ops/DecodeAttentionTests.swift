import KeelTensor
import KeelTestSupport
import Testing

/// One token against a cache: the heads that share keys are computed together, with the bits of the whole sequence.
@Suite struct DecodeAttentionTests {
    private let device = Device.cpu(threads: 2)

    @Test(
        arguments: [DType.f32, .bf16, .f64],
        [(6, 6, 20), (6, 2, 20), (6, 1, 32), (40, 2, 8), (3, 1, 64), (3, 1, 7), (6, 1, 96)]
            as [(heads: Int, kvHeads: Int, dim: Int)])
    func groupsOfHeads(dtype: DType, shape: (heads: Int, kvHeads: Int, dim: Int)) {
        let random = Generator("decode")
        let (q, k, v) = (
            random.tensor([150, shape.heads * shape.dim], number: 0, dtype: dtype, device),
            random.tensor([150, shape.kvHeads * shape.dim], number: 1, dtype: dtype, device),
            random.tensor([150, shape.kvHeads * shape.dim], number: 2, dtype: dtype, device)
        )
        for (window, softcap) in [(nil, nil), (10, nil), (70, 2), (nil, 5)] as [(Int?, Float?)] {
            func attention(_ q: Tensor, _ layout: AttentionLayout) -> Tensor {
                NN.attention(
                    q, k, v, heads: shape.heads, kvHeads: shape.kvHeads, layout: layout, scale: 0.3,
                    window: window, softcap: softcap)
            }
            let whole = attention(q, AttentionLayout(lengths: [150]))
            // Several tokens at once, keys in one stretch and in pieces.
            let places = [0, 1, 63, 64, 65, 127, 149]
            let rows = NN.gatherRows(q, Tensor(places.map { Int32($0) }, device: device))
            for pieces in [false, true] {
                let spans = places.enumerated().map { i, place in
                    let keys = 0..<place + 1
                    let cut = place / 3
                    return AttentionLayout.Span(
                        queries: i..<i + 1,
                        keys: pieces ? [0..<cut, cut..<keys.upperBound] : [keys])
                }
                let one = attention(rows, AttentionLayout(spans: spans))
                for (i, place) in places.enumerated() {
                    let isSame = one.rowsView(i, 1).bytes() == whole.rowsView(place, 1).bytes()
                    #expect(isSame, "position \(place), window \(window ?? 0)")
                }
            }
        }
    }
}
