package main

func Example() {
	main()
	// Output: 150 <nil>
}
